//! The question `novelty/series`: how new each step of a series is, by how far it was from what the steps before it promised.
//! Always true: what is said of a step depends on it and on earlier ones alone.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::body::{self, Asked, PictureFile};
use super::choice;
use super::given::GivenSeries;
use super::problem::{Kind, Problem};
use super::query::signed;
use super::{AppState, blocking};
use crate::curiosity::{Anomalies, Anomaly};
use crate::ids::{Generation, Space};
use crate::model::{Embedder, ModelError};
use crate::sample::image::turn;
use crate::sample::series::{self, SeriesLimits};
use crate::sample::{Content, Cutting, Window};

/// Steps that are forecast at a time from those before them.
const HORIZON_STEPS: usize = 8;

/// Steps, and numbers, of one request.
const STEPS_MAX: usize = 200_000;
const NUMBERS_MAX: usize = 2_000_000;

/// What a compressed file of a request may expand to.
const EXPANSION_MAX: u64 = 128 << 20;

/// Windows that are forecast in one question to the encoder, and their numbers: others wait meanwhile.
const PASS_WINDOWS: usize = 64;
const PASS_NUMBERS: usize = 1 << 15;

/// What `novelty/series` is asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SeriesRequest {
    /// `stream`, `stream@stable` or `stream@42`; may be left out where there is one stream.
    model: Option<String>,
    /// A file with a series, in base64.
    #[schemars(with = "Option<String>")]
    file: Option<PictureFile>,
    /// Or a series.
    series: Option<GivenSeries>,
}

impl Asked for SeriesRequest {
    fn take_pictures(&mut self, mut files: Vec<PictureFile>) -> Result<(), Problem> {
        self.file = files.pop();
        if files.is_empty() {
            return Ok(());
        }
        Err(Problem::new(Kind::Unprocessable, "one series is looked at at a time"))
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct OverTime {
    /// The generation that answered.
    #[schemars(with = "u64")]
    generation: Generation,
    /// Its space.
    #[schemars(with = "String")]
    space: Space,
    /// Steps that were forecast at a time, from those before them.
    horizon_steps: usize,
    /// The steps, in the order of time.
    steps: Vec<Step>,
}

/// A step of a series.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Step {
    /// Its number in the source, from 0; steps that a gap was filled with count too.
    at: u64,
    /// When it was, milliseconds since 1970 in UTC, where the source says so.
    time: Option<i64>,
    /// Each variable; null where it is missing.
    values: Vec<Option<f64>>,
    /// What was expected of each; null where nothing was, as at the series' beginning.
    expected: Vec<Option<f64>>,
    /// The squared error, in variances of what came before, the mean over variables; null where nothing was expected.
    error: Option<f64>,
    /// How unusual it is among the steps before it, 0 to 1: its numbers, how they left what was expected, the mean and the variation
    /// of the last steps; 0 while too few are known.
    novelty: f64,
    /// The same in decades of chance, which tell apart what is far above 0.999.
    evidence: f64,
    /// The evidence where it is higher than any that was told of late, else 0: what to wake somebody for.
    alarm: f64,
}

/// `POST /api/v1/novelty/series`.
pub(super) async fn novelty(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let (asked, _permit) = body::read::<SeriesRequest>(&state, request).await?;
    let (handle, model) = choice::model(&state, asked.model.as_deref()).await?;
    let Cutting::Series(limits) = handle.cutting.clone() else {
        let detail = format!("the stream is of the modality `{}`, not `series`", handle.modality);
        return Err(Problem::new(Kind::Unprocessable, detail).hint("ask a stream of series"));
    };
    let context = limits.window_steps;
    let windows = match (asked.file, asked.series) {
        (Some(file), None) => {
            let permit = Arc::clone(&state.decodes).acquire_owned().await;
            let limits = SeriesLimits {
                values_max: 4 * NUMBERS_MAX,
                expansion_max: EXPANSION_MAX,
                ..limits
            };
            blocking(move || {
                let _permit = permit;
                let _turn = turn(file.0.len() as u64);
                whole(&file.0, &limits)
            })
            .await??
        }
        (None, Some(series)) => match series.window() {
            Ok(Content::Series(window)) => vec![(window, Vec::new())],
            Ok(_) => Vec::new(),
            Err(why) => return Err(Problem::new(Kind::Unprocessable, why)),
        },
        _ => {
            let detail = "novelty over time is asked of one file (`file`) or one series (`series`)";
            return Err(Problem::new(Kind::Unprocessable, detail));
        }
    };
    let (steps, numbers) = windows.iter().fold((0, 0), |(steps, numbers), (window, _)| {
        (steps + window.steps(), numbers + window.values.len())
    });
    if steps > STEPS_MAX || numbers > NUMBERS_MAX {
        let detail =
            format!("it has {steps} steps and {numbers} numbers; {STEPS_MAX} and {NUMBERS_MAX} may be asked about");
        return Err(Problem::new(Kind::TooLarge, detail).hint("ask about it in parts"));
    }
    let _room = body::room(&state, 64 * numbers + 256 * steps)?;
    let mut said = Vec::with_capacity(steps);
    for (window, times) in windows {
        // In parts, so that other questions come in between.
        let (window, times) = (Arc::new(window), Arc::new(times));
        let starts: Vec<usize> = (0..window.steps()).step_by(HORIZON_STEPS).collect();
        let each = context.min(window.steps()) * usize::from(window.channels);
        for starts in starts.chunks((PASS_NUMBERS / each.max(1)).clamp(1, PASS_WINDOWS)) {
            let (window, times, starts) = (Arc::clone(&window), Arc::clone(&times), starts.to_vec());
            let steps = model
                .forecast(move |network| expected(network, &window, &times, &starts, context))
                .await?;
            said.extend(steps);
        }
    }
    let steps = blocking(move || judged(said)).await?;
    let answer = OverTime {
        generation: model.published().generation,
        space: model.published().space.clone(),
        horizon_steps: HORIZON_STEPS,
        steps,
    };
    Ok(signed(&model, Json(answer)))
}

/// The steps with how unusual each is.
fn judged(mut steps: Vec<Step>) -> Vec<Step> {
    let mut anomalies = Anomalies::default();
    for step in &mut steps {
        let pairs = step.values.iter().zip(&step.expected);
        let numbers = pairs.map(|(value, expected)| (value.unwrap_or(f64::NAN), expected.unwrap_or(f64::NAN)));
        let Anomaly {
            evidence,
            novelty,
            alarm,
        } = anomalies.observe(numbers);
        (step.evidence, step.novelty, step.alarm) = (evidence, novelty, alarm);
    }
    steps
}

/// A file's series, each in one piece.
fn whole(bytes: &[u8], limits: &SeriesLimits) -> Result<Vec<(Window, Vec<i64>)>, Problem> {
    series::whole(Path::new(""), bytes, limits).map_err(|rejection| {
        let detail = format!("the file was refused: {}", rejection.detail);
        let mut problem = Problem::new(Kind::Unprocessable, detail);
        problem.reason = Some(rejection.reason.as_str().to_owned());
        problem
    })
}

/// The steps that follow each of these starts, and what was expected of them from up to `context` steps, theirs included. None
/// where the network forecasts nothing.
fn expected(
    network: &Embedder,
    window: &Window,
    times: &[i64],
    starts: &[usize],
    context: usize,
) -> Result<Option<Vec<Step>>, ModelError> {
    let steps = window.steps();
    // The last ones are fewer than a horizon: they are forecast with those before them, which were said already.
    let ends: Vec<usize> = starts.iter().map(|start| (start + HORIZON_STEPS).min(steps)).collect();
    // Of what is missing altogether nothing is expected.
    let views: Vec<Option<Window>> = ends
        .iter()
        .map(|end| window.crop(end.saturating_sub(context)..*end))
        .collect();
    let Some(forecasts) = network.forecast(&views.iter().flatten().collect::<Vec<_>>(), HORIZON_STEPS)? else {
        return Ok(None);
    };
    let mut forecasts = forecasts.into_iter();
    let forecasts = views
        .iter()
        .map(|view| view.as_ref().and_then(|_| forecasts.next().flatten()));
    let channels = usize::from(window.channels);
    let mut said = Vec::with_capacity(starts.len() * HORIZON_STEPS);
    for ((start, end), forecast) in starts.iter().zip(ends).zip(forecasts) {
        for at in *start..end {
            // Its place in the horizon, which ends where the steps do.
            let place = HORIZON_STEPS - (end - at);
            let of = |numbers: &[f64], channel: usize| numbers.get(channel * HORIZON_STEPS + place).copied();
            let number = |value: f64| (!value.is_nan()).then_some(value);
            let (mut expected, mut errors) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
            for channel in 0..channels {
                let promised = forecast.as_ref().and_then(|forecast| of(&forecast.expected, channel));
                expected.push(promised.and_then(number));
                let error = forecast
                    .as_ref()
                    .and_then(|forecast| forecast.errors.get(channel * HORIZON_STEPS + place));
                errors.extend(error.copied().map(f64::from).filter(|error| !error.is_nan()));
            }
            said.push(Step {
                at: window.start + at as u64,
                time: times.get(at).copied(),
                values: (0..channels)
                    .map(|channel| number(window.channel(channel)[at]))
                    .collect(),
                expected,
                error: (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64),
                novelty: 0.0,
                evidence: 0.0,
                alarm: 0.0,
            });
        }
    }
    Ok(Some(said))
}
