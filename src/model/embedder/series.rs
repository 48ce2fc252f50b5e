//! Windows of series in passes of like length, and forecasts.

use tch::Kind;

use super::{Embedder, values};
use crate::model::cut::{self, Grid};
use crate::model::{
    Forecast, Input, ModelError, PaddedPatches, PatchHead, PatchRow, PatchTransformer, Patches, SeriesSpec,
};
use crate::sample::{Content, Window};

/// Tokens of one pass, padding included; a window of more is a pass of its own.
const PASS_TOKENS_MAX: usize = 4_096;

impl Embedder {
    pub(super) fn embed_series(&self, samples: &[&Content], spec: &SeriesSpec) -> Result<Vec<f32>, ModelError> {
        let row = |sample: &&Content| match *sample {
            Content::Series(window) => Ok(PatchRow::new(window, spec, |_, _| false)),
            other => Err(self.other_input(other)),
        };
        let rows = samples.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        let _no_grad = tch::no_grad_guard();
        let dim = self.dim();
        let mut embeddings = vec![0f32; rows.len() * dim];
        for pass in passes(&rows) {
            let shown: Vec<&PatchRow> = pass.iter().map(|at| &rows[*at]).collect();
            let patches = Patches::on(self.device, &PaddedPatches::new(&shown, spec))?;
            let vectors = self.rows(&Input::Patches(patches))?;
            for (at, vector) in pass.iter().zip(vectors.chunks_exact(dim)) {
                embeddings[at * dim..(at + 1) * dim].copy_from_slice(vector);
            }
        }
        Ok(embeddings)
    }

    pub(super) fn forecast_series(
        &self,
        (network, head): (&PatchTransformer, &PatchHead),
        windows: &[&Window],
        horizon_steps: usize,
        spec: &SeriesSpec,
    ) -> Result<Vec<Option<Forecast>>, ModelError> {
        let len = spec.patch_steps as usize;
        let hides = horizon_steps.div_ceil(len);
        // What hides nothing, or all, is no forecast.
        let fits: Vec<usize> = (0..windows.len())
            .filter(|at| hides > 0 && hides < Grid::of(windows[*at], spec).patches)
            .collect();
        let row = |at: &usize| {
            let first = Grid::of(windows[*at], spec).patches - hides;
            PatchRow::new(windows[*at], spec, |_, patch| patch >= first)
        };
        let rows: Vec<PatchRow> = fits.iter().map(row).collect();
        let _no_grad = tch::no_grad_guard();
        let mut forecasts = vec![None; windows.len()];
        for pass in passes(&rows) {
            let shown: Vec<&PatchRow> = pass.iter().map(|at| &rows[*at]).collect();
            let padded = PaddedPatches::new(&shown, spec);
            let places = tch::Tensor::from_slice(&padded.filled.hidden_places()).f_to_device(self.device)?;
            let states = network.hidden(&Patches::on(self.device, &padded)?);
            let guesses = head
                .guesses(&states, &places)
                .f_to_kind(Kind::Float)?
                .f_to_device(tch::Device::Cpu)?;
            let guesses = values(&guesses.f_contiguous()?)?;
            let mut rest = guesses.as_slice();
            for at in pass {
                let (own, others) = rest.split_at(rows[at].was.len());
                forecasts[fits[at]] = Some(Forecast::new(windows[fits[at]], &rows[at].scales, own, horizon_steps));
                rest = others;
            }
        }
        Ok(forecasts)
    }
}

/// Which rows go into one pass each: the shortest first, as many as stay within [`PASS_TOKENS_MAX`].
fn passes(rows: &[PatchRow]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|at| rows[*at].len());
    let mut passes: Vec<Vec<usize>> = Vec::new();
    for at in order {
        let longest = cut::padded(rows[at].len());
        match passes.last_mut() {
            Some(pass) if (pass.len() + 1) * longest <= PASS_TOKENS_MAX => pass.push(at),
            _ => passes.push(vec![at]),
        }
    }
    passes
}
