//! Texts in passes of like length, and hidden words that are guessed.

use tch::{Kind, Tensor};

use super::{Embedder, values};
use crate::model::bert::MaskedHead;
use crate::model::text::{self, Row, Tokenizer};
use crate::model::{Input, ModelError, Network, TextSpec};
use crate::sample::Content;

/// Tokens of one pass, padding included.
const PASS_TOKENS_MAX: usize = 4_096;

/// Lengths are rounded up to a multiple of this, so that few shapes come up.
const LENGTH_STEP: usize = 8;

/// A word that a network expects.
#[derive(Clone, Debug, PartialEq)]
pub struct Guess {
    /// The token, as text.
    pub word: String,
    /// How likely it is to the network, 0 to 1.
    pub probability: f32,
}

impl Embedder {
    pub(super) fn embed_texts(&self, samples: &[&Content], spec: &TextSpec) -> Result<Vec<f32>, ModelError> {
        let tokenizer = self.vocabulary()?;
        let row = |sample: &&Content| match *sample {
            Content::Text(passage) => clean_row(tokenizer, &passage.text, spec),
            other => Err(self.other_input(other)),
        };
        let rows = samples.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        let _no_grad = tch::no_grad_guard();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|at| rows[*at].ids.len());
        let dim = self.dim();
        let mut embeddings = vec![0f32; rows.len() * dim];
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let (pass, later) = rest.split_at(pass_len(rest, &rows));
            let shown: Vec<Row> = pass.iter().map(|at| rows[*at].clone()).collect();
            let padded = text::pad(tokenizer, &shown, LENGTH_STEP, spec.tokens_max as usize);
            let input = match Input::of_rows(&padded, self.device)? {
                Input::Tokens(tokens) => Input::Tokens(tokens.packed(&padded.mask)?),
                other => other,
            };
            let vectors = self.rows(&input)?;
            for (at, vector) in pass.iter().zip(vectors.chunks_exact(dim)) {
                embeddings[at * dim..(at + 1) * dim].copy_from_slice(vector);
            }
            rest = later;
        }
        Ok(embeddings)
    }

    pub(super) fn guess_words(
        &self,
        head: &MaskedHead,
        text: &str,
        most: usize,
        spec: &TextSpec,
    ) -> Result<Vec<Vec<Guess>>, ModelError> {
        let tokenizer = self.vocabulary()?;
        let row = clean_row(tokenizer, text, spec)?;
        let places = (0i64..)
            .zip(&row.ids)
            .filter(|(_, id)| **id == tokenizer.mask())
            .map(|(at, _)| at);
        let places: Vec<i64> = places.collect();
        if places.is_empty() {
            return Err(ModelError::NothingHidden);
        }
        let input = Input::of_rows(
            &text::pad(tokenizer, std::slice::from_ref(&row), 1, spec.tokens_max as usize),
            self.device,
        )?;
        let (Network::Texts(bert), Input::Tokens(tokens)) = (&self.network, &input) else {
            return Err(ModelError::NoTokenizer);
        };
        let _no_grad = tch::no_grad_guard();
        let _autocast = self.autocast()?;
        let hidden = bert
            .hidden(tokens)
            .f_squeeze_dim(0)?
            .f_index_select(0, &Tensor::from_slice(&places).f_to_device(self.device)?)?; // [M, H]
        let logits = head.forward(&hidden, bert.words()); //                      [M, V]
        // Rows of the matrix that no token has are no words.
        let known = (tokenizer.vocab_size() as i64).min(logits.size()[1]);
        let chances = logits.narrow(1, 0, known).softmax(1, Kind::Float);
        let (chances, ids) = chances.f_topk((most as i64).min(known), 1, true, true)?;
        let ids = Vec::<i64>::try_from(ids.f_to_device(tch::Device::Cpu)?.f_contiguous()?.view(-1))?;
        let chances = values(&chances.f_to_device(tch::Device::Cpu)?.f_contiguous()?)?;
        let guesses = ids.iter().zip(chances).map(|(id, probability)| {
            Ok(Guess {
                word: tokenizer.decode(&[*id as u32])?,
                probability,
            })
        });
        let guesses = guesses.collect::<Result<Vec<_>, ModelError>>()?;
        Ok(guesses
            .chunks(guesses.len() / places.len())
            .map(<[Guess]>::to_vec)
            .collect())
    }

    fn vocabulary(&self) -> Result<&Tokenizer, ModelError> {
        self.tokenizer.as_ref().ok_or(ModelError::NoTokenizer)
    }
}

/// A text as the network is asked about it: its first tokens, nothing hidden.
fn clean_row(tokenizer: &Tokenizer, text: &str, spec: &TextSpec) -> Result<Row, ModelError> {
    let tokens = tokenizer.encode(text, spec.tokens_max as usize - text::SPECIALS_OF_ONE)?;
    Ok(text::clean(tokenizer, &tokens, None))
}

/// How many of these rows, the shortest first, go into one pass.
fn pass_len(order: &[usize], rows: &[Row]) -> usize {
    let fits = |count: &usize| {
        let longest = rows[order[count - 1]].ids.len().next_multiple_of(LENGTH_STEP);
        count * longest <= PASS_TOKENS_MAX
    };
    (1..=order.len()).take_while(fits).last().unwrap_or(1)
}
