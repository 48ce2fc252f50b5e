//! What an inference request of the Open Inference Protocol brings: JSON, and after it the tensors whose bytes are not in it
//! (the binary extension).
//! Invariant: what a request says of its sizes is looked at before anything is made of it; where the bytes say otherwise it is
//! refused.

use axum::body::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use super::oip_json::{Data, Few};
use crate::ids::StreamName;
use crate::sample::Modality;
use crate::serve::body::{PictureFile, too_many};
use crate::serve::given::{Given, GivenSeries};
use crate::serve::problem::{Kind, Problem};
use crate::serve::{body, skim};

/// Bytes before each element of a tensor of bytes: its length, little-endian.
const LENGTH_BYTES: usize = 4;

/// An inference request.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(in crate::serve) struct InferRequest {
    /// Comes back with the answer.
    pub(super) id: Option<String>,
    /// `binary_data_output`: whether outputs come as bytes.
    pub(super) parameters: Option<RequestParameters>,
    /// One tensor: `texts` or `images` (BYTES), or `series` (FP32 or FP64).
    inputs: Few<InferInput, 1>,
    /// `embedding`, or nothing.
    #[serde(default)]
    pub(super) outputs: Few<InferOutput, 1>,
}

/// What is asked of the whole answer; other parameters are passed over.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(super) struct RequestParameters {
    /// Whether outputs come as bytes.
    #[serde(default)]
    pub(super) binary_data_output: bool,
}

/// A tensor that is brought.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
struct InferInput {
    /// `texts`, `images` or `series`.
    name: String,
    /// `[n]` of texts and images; of series `[n, steps]`, or `[n, variables, steps]`.
    shape: Few<usize, 4>,
    /// BYTES, FP32 or FP64.
    datatype: String,
    /// `binary_data_size`: how many of the bytes after the JSON are this tensor's.
    parameters: Option<InputParameters>,
    /// Its elements in order, in lists or in one; a picture's file in base64, null where a number is missing.
    #[schemars(with = "Vec<serde_json::Value>")]
    data: Option<Data>,
}

/// What is said of a tensor.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
struct InputParameters {
    /// How many of the bytes after the JSON are this tensor's.
    binary_data_size: Option<usize>,
}

/// A tensor that is asked for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct InferOutput {
    /// `embedding`.
    pub(super) name: String,
    /// `binary_data`: whether it comes as bytes.
    pub(super) parameters: Option<OutputParameters>,
}

/// What is asked of a tensor.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(super) struct OutputParameters {
    /// Whether it comes as bytes.
    pub(super) binary_data: Option<bool>,
}

/// What a stream of a kind is asked by: the tensor's name, its datatype and its shape, -1 where it may be any.
pub(super) fn input_of(modality: Modality) -> Option<(&'static str, &'static str, &'static [i64])> {
    match modality {
        Modality::Text => Some(("texts", "BYTES", &[-1])),
        Modality::Image => Some(("images", "BYTES", &[-1])),
        Modality::Series => Some(("series", "FP32", &[-1, -1, -1])),
        Modality::Transition => None,
    }
}

fn unprocessable(detail: String) -> Problem {
    Problem::new(Kind::Unprocessable, detail)
}

impl InferRequest {
    /// Reads a request: JSON alone, or as long as `json_bytes` says and then the tensors' bytes.
    pub(in crate::serve) fn read(bytes: &Bytes, json_bytes: Option<usize>, items_max: usize) -> Result<Self, Problem> {
        let json_bytes = json_bytes.unwrap_or(bytes.len());
        if json_bytes > bytes.len() {
            let detail = format!(
                "`Inference-Header-Content-Length` is {json_bytes}, and the body has {} bytes",
                bytes.len()
            );
            return Err(Problem::new(Kind::MalformedRequest, detail));
        }
        let json = &bytes[..json_bytes];
        too_many(items_max, skim::texts(json, &["inputs", "data"]))?;
        let mut request: Self = body::json(json)?;
        let mut at = json_bytes;
        for input in &mut request.inputs.0 {
            let Some(size) = input.parameters.as_ref().and_then(|said| said.binary_data_size) else {
                continue;
            };
            if input.data.is_some() {
                let detail = format!("the input {} has `data` in JSON and `binary_data_size`", input.name);
                return Err(unprocessable(detail));
            }
            let left = bytes.len() - at;
            if size > left {
                let detail = format!("the input {} is to have {size} bytes, and {left} are left", input.name);
                return Err(unprocessable(detail));
            }
            input.data = Some(Data::Raw(bytes.slice(at..at + size)));
            at += size;
        }
        match bytes.len() - at {
            0 => Ok(request),
            left => Err(unprocessable(format!("{left} bytes after the JSON are no input's"))),
        }
    }

    /// Bytes that it brings after its JSON.
    pub(super) fn raw_bytes(&self) -> usize {
        let of = |input: &InferInput| match &input.data {
            Some(Data::Raw(bytes)) => bytes.len(),
            _ => 0,
        };
        self.inputs.0.iter().map(of).sum()
    }

    /// What it brings to a stream of this kind.
    pub(in crate::serve) fn given(
        self,
        stream: &StreamName,
        modality: Modality,
        items_max: usize,
    ) -> Result<Given, Problem> {
        let Some((name, datatype, _)) = input_of(modality) else {
            let detail = format!("the stream {stream} is of the modality `{modality}`, for which there is no tensor");
            return Err(unprocessable(detail).hint("ask POST /api/v1/embed"));
        };
        let hint = format!("send one input: `{name}`, of {datatype}");
        let Some(input) = self.inputs.0.into_iter().next() else {
            return Err(unprocessable(format!("the stream {stream} takes one input")).hint(hint));
        };
        let takes = match modality {
            Modality::Series => matches!(input.datatype.as_str(), "FP32" | "FP64"),
            _ => input.datatype == "BYTES",
        };
        if input.name != name || !takes {
            let detail = format!(
                "the stream {stream} takes no input `{}` of {}",
                input.name, input.datatype
            );
            return Err(unprocessable(detail).hint(hint));
        }
        match modality {
            Modality::Text => {
                let texts = input.bytes(items_max)?.into_iter().enumerate();
                let texts = texts.map(|(item, element)| element.text(item));
                Ok(Given {
                    texts: texts.collect::<Result<_, _>>()?,
                    ..Given::default()
                })
            }
            Modality::Image => {
                let files = input.bytes(items_max)?.into_iter().enumerate();
                let files = files.map(|(item, element)| element.file(item));
                files.collect::<Result<_, _>>().map(Given::of_files)
            }
            Modality::Series | Modality::Transition => Ok(Given {
                series: input.series(items_max)?,
                ..Given::default()
            }),
        }
    }
}

/// An element of a tensor of bytes.
enum Element {
    /// From JSON.
    Text(String),
    /// As it came.
    Raw(Bytes),
}

impl Element {
    fn text(self, item: usize) -> Result<String, Problem> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Raw(bytes) => String::from_utf8(bytes.into())
                .map_err(|error| unprocessable(format!("item {item} is no text: {}", error.utf8_error())).item(item)),
        }
    }

    fn file(self, item: usize) -> Result<PictureFile, Problem> {
        match self {
            Self::Text(text) => {
                PictureFile::parse(&text).map_err(|why| unprocessable(format!("item {item}: {why}")).item(item))
            }
            Self::Raw(bytes) => Ok(PictureFile(bytes.into())),
        }
    }
}

impl InferInput {
    /// How many elements its shape has.
    fn elements(&self) -> Result<usize, Problem> {
        let shape = &self.shape.0;
        let product = shape
            .iter()
            .try_fold(1usize, |product, side| product.checked_mul(*side));
        match product {
            Some(elements) if elements > 0 && !shape.is_empty() => Ok(elements),
            _ => Err(
                unprocessable(format!("the input {} has the shape {shape:?}", self.name))
                    .hint("no side may be 0, and there is at least one"),
            ),
        }
    }

    /// What its shape says and its data do not.
    fn other_size(&self, elements: usize) -> Problem {
        let shape = &self.shape.0;
        let name = &self.name;
        unprocessable(format!(
            "the input {name} has the shape {shape:?}, which is {elements} elements, and other data"
        ))
    }

    /// The elements of a tensor of bytes.
    fn bytes(mut self, items_max: usize) -> Result<Vec<Element>, Problem> {
        let elements = self.elements()?;
        // Triton's clients have a second side of 1 where a model takes batches.
        if elements != self.shape.0[0] {
            let detail = format!("the input {} has the shape {:?}", self.name, self.shape.0);
            return Err(unprocessable(detail).hint("its shape is [n]"));
        }
        too_many(items_max, elements)?;
        let found = match self.data.take() {
            Some(Data::Texts(texts)) if texts.len() == elements => Some(texts.into_iter().map(Element::Text).collect()),
            Some(Data::Raw(bytes)) => split(&bytes, elements),
            _ => None,
        };
        found.ok_or_else(|| self.other_size(elements))
    }

    /// The series of a tensor of numbers.
    fn series(mut self, items_max: usize) -> Result<Vec<GivenSeries>, Problem> {
        let elements = self.elements()?;
        let (series, variables) = match self.shape.0.as_slice() {
            [series, _] => (*series, 1),
            [series, variables, _] => (*series, *variables),
            shape => {
                let detail = format!("the input {} has the shape {shape:?}", self.name);
                return Err(unprocessable(detail).hint("its shape is [n, steps] or [n, variables, steps]"));
            }
        };
        too_many(items_max, series)?;
        let is_single = self.datatype == "FP32";
        let each = elements / series;
        let numbers: Option<Vec<Vec<f64>>> = match self.data.take() {
            // A number is the same however it comes.
            Some(Data::Numbers(mut numbers)) if numbers.len() == elements => {
                if is_single {
                    numbers
                        .iter_mut()
                        .for_each(|number| *number = f64::from(*number as f32));
                }
                Some(numbers.chunks_exact(each).map(<[f64]>::to_vec).collect())
            }
            Some(Data::Raw(bytes)) if is_single => {
                floats(&bytes, elements, each, |bytes| f64::from(f32::from_le_bytes(bytes)))
            }
            Some(Data::Raw(bytes)) => floats(&bytes, elements, each, f64::from_le_bytes),
            _ => None,
        };
        let numbers = numbers.ok_or_else(|| self.other_size(elements))?.into_iter();
        Ok(numbers
            .map(|numbers| GivenSeries::of_variables(numbers, variables))
            .collect())
    }
}

/// Numbers of `N` bytes, so many in a list; None where the bytes are not as many numbers.
fn floats<const N: usize>(
    bytes: &[u8],
    elements: usize,
    each: usize,
    number: impl Fn([u8; N]) -> f64,
) -> Option<Vec<Vec<f64>>> {
    let (numbers, rest) = bytes.as_chunks::<N>();
    if numbers.len() != elements || !rest.is_empty() {
        return None;
    }
    let list = |numbers: &[[u8; N]]| numbers.iter().map(|bytes| number(*bytes)).collect();
    Some(numbers.chunks_exact(each).map(list).collect())
}

/// The elements of a tensor of bytes, each after its length; None where they are not as many, or do not fill it.
fn split(bytes: &Bytes, elements: usize) -> Option<Vec<Element>> {
    // Each has at least its length: who says more of them than there is room for is refused before there is a list.
    if elements > bytes.len() / LENGTH_BYTES {
        return None;
    }
    let mut found = Vec::with_capacity(elements);
    let mut at = 0;
    for _ in 0..elements {
        let length = bytes.get(at..)?.first_chunk::<LENGTH_BYTES>()?;
        at += LENGTH_BYTES;
        let end = at.checked_add(u32::from_le_bytes(*length) as usize)?;
        if end > bytes.len() {
            return None;
        }
        found.push(Element::Raw(bytes.slice(at..end)));
        at = end;
    }
    (at == bytes.len()).then_some(found)
}
