//! `classify`: the classes of things, by a classifier that was fitted from labels.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::body::{self, Asked, PictureFile};
use super::given::{Given, GivenSeries, GivenTransition};
use super::heads::Fitted;
use super::labels::set_name;
use super::problem::{Kind, Problem};
use super::query::{LISTS, signed};
use super::{AppState, blocking, choice, contents, heads};
use crate::ids::{Generation, SampleId, Space};
use crate::labels::{Head, SetName};

/// Classes of an answer, at most.
const TOP_MAX: usize = 100;

/// What `classify` is asked: the classes of things, or of samples.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassifyRequest {
    /// `stream`, `stream@stable` or `stream@42`; may be left out where there is one stream. Only the served generation has
    /// classifiers.
    model: Option<String>,
    /// The set of labels [default: `default`].
    set: Option<String>,
    /// How many classes of each, the likeliest first, 1 to 100.
    #[serde(default = "default_top")]
    top: usize,
    /// Files of pictures, each in base64.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    images: Vec<PictureFile>,
    /// Texts, of a stream of texts.
    #[serde(default)]
    texts: Vec<String>,
    /// Series, of a stream of series.
    #[serde(default)]
    series: Vec<GivenSeries>,
    /// Transitions, of a stream of transitions.
    #[serde(default)]
    transitions: Vec<GivenTransition>,
    /// Or samples.
    #[serde(default)]
    #[schemars(with = "Vec<u64>")]
    ids: Vec<SampleId>,
}

fn default_top() -> usize {
    5
}

impl Asked for ClassifyRequest {
    const LISTS: &'static [&'static str] = &[LISTS[0], LISTS[1], LISTS[2], LISTS[3], "ids"];

    fn take_pictures(&mut self, pictures: Vec<PictureFile>) -> Result<(), Problem> {
        self.images = pictures;
        Ok(())
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Classified {
    /// The generation that answered.
    #[schemars(with = "u64")]
    generation: Generation,
    /// Its space, on whose vectors the classifier was fitted too, where no copy answers.
    #[schemars(with = "String")]
    space: Space,
    /// Whether a copy of the generation's network answered, which was trained on the labels.
    finetuned: bool,
    /// The set of labels.
    #[schemars(with = "String")]
    set: SetName,
    /// One for each picture, text, series and transition in their order, or for each sample.
    results: Vec<Classes>,
}

#[derive(Serialize, JsonSchema)]
struct Classes {
    /// The sample, where samples were asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u64>")]
    id: Option<SampleId>,
    /// The likeliest class.
    label: String,
    /// Its probability.
    probability: f64,
    /// The likeliest classes, the likeliest first.
    classes: Vec<Class>,
}

#[derive(Serialize, JsonSchema)]
struct Class {
    label: String,
    probability: f64,
}

/// `POST /api/v1/classify`.
pub(super) async fn classify(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let (asked, _permit) = body::read::<ClassifyRequest>(&state, request).await?;
    if !(1..=TOP_MAX).contains(&asked.top) {
        return Err(Problem::new(
            Kind::Unprocessable,
            format!("`top` may be 1 to {TOP_MAX}"),
        ));
    }
    let set = set_name(asked.set.as_deref())?;
    let (handle, model) = choice::model(&state, asked.model.as_deref()).await?;
    let served = Arc::clone(model.searchable()?);
    let fitted = heads::of(&served, &set)?;
    let given = Given {
        files: asked.images,
        texts: asked.texts,
        series: asked.series,
        transitions: asked.transitions,
    };
    let ids = asked.ids;
    let rows = match (given.is_empty(), ids.as_slice()) {
        (false, []) => {
            let inputs = contents::read(&state, &handle, &model, given).await?;
            match fitted.copy() {
                Some(copy) => copy.encoder.embed(inputs).await?,
                None => model.embed(inputs).await?,
            }
        }
        (true, [_, ..]) => match fitted.copy() {
            Some(copy) => {
                let inputs = contents::held(&state, &handle, &ids).await?;
                copy.encoder.embed(inputs).await?
            }
            None => {
                let mut rows = Vec::with_capacity(ids.len() * model.dim());
                for (item, id) in ids.iter().enumerate() {
                    let row = served
                        .index
                        .embedding(*id)
                        .ok_or_else(|| contents::not_held(*id, item))?;
                    rows.extend(row);
                }
                rows
            }
        },
        _ => {
            let detail = "what is classified is brought (`images`, `texts`, `series`, `transitions`), or named as samples (`ids`)";
            return Err(Problem::new(Kind::Unprocessable, detail));
        }
    };
    let finetuned = fitted.copy().is_some();
    let (dim, top) = (model.dim(), asked.top);
    let results = blocking(move || {
        let answers = rows.chunks_exact(dim).enumerate();
        answers
            .map(|(at, row)| classes(head(&fitted), row, top, ids.get(at).copied()))
            .collect()
    });
    let answer = Classified {
        generation: model.published().generation,
        space: model.published().space.clone(),
        finetuned,
        set,
        results: results.await?,
    };
    Ok(signed(&model, Json(answer)))
}

/// The classifier of the vectors that were asked for.
fn head(fitted: &Fitted) -> &Head {
    fitted.copy().map_or(&fitted.head, |copy| &copy.head)
}

fn classes(head: &Head, row: &[f32], top: usize, id: Option<SampleId>) -> Classes {
    let mut classes: Vec<_> = head.classes().iter().zip(head.probabilities(row)).collect();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    classes.truncate(top);
    let classes: Vec<Class> = classes
        .into_iter()
        .map(|(label, probability)| Class {
            label: label.to_string(),
            probability,
        })
        .collect();
    let first = classes.first().map(|first| (first.label.clone(), first.probability));
    let (label, probability) = first.unwrap_or_default();
    Classes {
        id,
        label,
        probability,
        classes,
    }
}
