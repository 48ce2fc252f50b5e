//! What a request brings: JSON with base64 pictures, a picture's own bytes, or a form with files. All bounded before
//! they are read, and all turned into the same typed request.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Multipart, Query, Request};
use axum::http::{Uri, header};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::StreamExt;

use super::problem::{Kind, Problem};
use super::{AppState, blocking, skim};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A picture's file in a request: base64 in JSON, with or without a data URL's head.
#[derive(Debug, Default)]
pub(super) struct PictureFile(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for PictureFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl PictureFile {
    /// Reads base64, with or without a data URL's head.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let base64 = match text.strip_prefix("data:") {
            Some(url) => url.split_once(";base64,").map_or(url, |(_, base64)| base64),
            None => text,
        };
        BASE64
            .decode(base64.trim_ascii())
            .map(Self)
            .map_err(|error| format!("a picture is not base64: {error}"))
    }
}

/// A request that may bring pictures.
pub(super) trait Asked: DeserializeOwned + Send + 'static {
    /// The keys whose lists are of things that are asked about.
    const LISTS: &'static [&'static str] = &[];

    /// How many elements they may have together, where it is not `server.items_max`.
    const ITEMS_MAX: Option<usize> = None;

    /// Takes the pictures that came as files.
    fn take_pictures(&mut self, pictures: Vec<PictureFile>) -> Result<(), Problem>;
}

/// Reads a request. The permit stands for its body's bytes and is to be held as long as they are.
pub(super) async fn read<T: Asked>(
    state: &Arc<AppState>,
    request: Request,
) -> Result<(T, OwnedSemaphorePermit), Problem> {
    let kind = Type::of(&request)?;
    let names = ["model", "k", "id", "top", "set", "after", "before", "source"];
    let params = params(request.uri(), &names)?;
    let (bytes, permit, content_type) = bounded(state, request).await?;
    let items_max = T::ITEMS_MAX.unwrap_or(state.config.items_max);
    let asked = match kind {
        Type::Json => {
            if let Some(name) = params.keys().next() {
                let detail = format!("`{name}` stands in the URL of a request with a JSON body");
                return Err(Problem::new(Kind::MalformedRequest, detail).hint("write it into the body"));
            }
            // The permit goes with the bytes: who hangs up does not make room before they are gone.
            let (asked, permit) = blocking(move || {
                let asked = too_many(items_max, skim::items(&bytes, T::LISTS)).and_then(|()| json(&bytes));
                (asked, permit)
            })
            .await?;
            return Ok((asked?, permit));
        }
        Type::Picture => {
            let mut asked: T = from_params(params)?;
            asked.take_pictures(vec![PictureFile(bytes.into())])?;
            asked
        }
        Type::Form => {
            let (fields, pictures) = form(items_max, bytes, content_type).await?;
            let mut asked: T = from_params(params.into_iter().chain(fields).collect())?;
            asked.take_pictures(pictures)?;
            asked
        }
    };
    Ok((asked, permit))
}

/// The parameters of a URL; one that is not allowed here is refused.
pub(super) fn params(uri: &Uri, allowed: &[&str]) -> Result<BTreeMap<String, String>, Problem> {
    let Query(params) = Query::<BTreeMap<String, String>>::try_from_uri(uri)
        .map_err(|error| Problem::new(Kind::MalformedRequest, error.to_string()))?;
    match params.keys().find(|name| !allowed.contains(&name.as_str())) {
        Some(name) => Err(
            Problem::new(Kind::MalformedRequest, format!("there is no parameter `{name}` here"))
                .hint(format!("the parameters are: {}", allowed.join(", "))),
        ),
        None => Ok(params),
    }
}

enum Type {
    Json,
    Picture,
    Form,
}

impl Type {
    fn of(request: &Request) -> Result<Self, Problem> {
        let given = request.headers().get(header::CONTENT_TYPE);
        let text = given.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Ok(Self::Json),
            "multipart/form-data" => Ok(Self::Form),
            "application/octet-stream" => Ok(Self::Picture),
            picture if picture.starts_with("image/") => Ok(Self::Picture),
            _ => {
                let detail = match given {
                    Some(_) => format!("the body's type is `{essence}`"),
                    None => "the body's type is not given".to_owned(),
                };
                let hint = "send application/json, a picture's bytes as image/* or application/octet-stream, or \
                            multipart/form-data";
                Err(Problem::new(Kind::UnsupportedType, detail).hint(hint))
            }
        }
    }
}

/// The body's bytes, within the bounds of one request and of all of them.
pub(super) async fn bounded(
    state: &AppState,
    request: Request,
) -> Result<(Bytes, OwnedSemaphorePermit, Option<header::HeaderValue>), Problem> {
    let max = state.config.body_bytes_max;
    let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
    let body = request.into_body();
    let too_large = || {
        Problem::new(Kind::TooLarge, format!("the body has more than {max} bytes"))
            .hint("send less at once, or raise `server.body_bytes_max`")
    };
    // What is told of the size, when it is told, is the least that will come.
    let size = body.size_hint();
    if size.lower() > max as u64 {
        return Err(too_large());
    }
    let reserved = size.upper().map_or(max, |upper| upper.min(max as u64) as usize);
    let permit = room(state, reserved)?;
    let mut body = body.into_data_stream();
    let mut bytes = Vec::with_capacity(size.lower() as usize);
    while let Some(chunk) = body.next().await {
        let chunk =
            chunk.map_err(|error| Problem::new(Kind::MalformedRequest, format!("the body broke off: {error}")))?;
        if bytes.len() + chunk.len() > max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes.into(), permit, content_type))
}

/// Room in memory for so many bytes of a request, for as long as the permit is held.
pub(super) fn room(state: &AppState, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
    let room = Arc::clone(&state.held).try_acquire_many_owned((bytes / 1024 + 1) as u32);
    room.map_err(|_| Problem::new(Kind::Overloaded, "other requests fill the room for them").retry_after(1))
}

/// A body as the JSON of its route.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(
            Kind::MalformedRequest,
            format!("the body is not the JSON of this route: {error}"),
        )
    })
}

fn from_params<T: DeserializeOwned>(params: BTreeMap<String, String>) -> Result<T, Problem> {
    let typed = params.into_iter().map(|(name, text)| {
        // A model, a set or a file may be called 42; a count may not.
        let value = match text.parse::<u64>() {
            Ok(number) if !["model", "set", "source"].contains(&name.as_str()) => Value::from(number),
            _ => Value::from(text),
        };
        (name, value)
    });
    serde_json::from_value(Value::Object(typed.collect())).map_err(|error| {
        Problem::new(
            Kind::MalformedRequest,
            format!("the parameters are not those of this route: {error}"),
        )
    })
}

/// The text fields and the files of a form.
async fn form(
    items_max: usize,
    bytes: Bytes,
    content_type: Option<header::HeaderValue>,
) -> Result<(BTreeMap<String, String>, Vec<PictureFile>), Problem> {
    let malformed = |error: String| Problem::new(Kind::MalformedRequest, format!("the form can not be read: {error}"));
    let mut request = Request::new(Body::from(bytes));
    request
        .headers_mut()
        .extend(content_type.map(|value| (header::CONTENT_TYPE, value)));
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|error| malformed(error.body_text()))?;
    let (mut fields, mut pictures) = (BTreeMap::new(), Vec::new());
    while let Some(field) = form.next_field().await.map_err(|error| malformed(error.body_text()))? {
        let name = field.name().unwrap_or_default().to_owned();
        if field.file_name().is_some() || field.content_type().is_some() {
            too_many(items_max, pictures.len() + 1)?;
            let bytes = field.bytes().await.map_err(|error| malformed(error.body_text()))?;
            pictures.push(PictureFile(bytes.into()));
        } else {
            fields.insert(name, field.text().await.map_err(|error| malformed(error.body_text()))?);
        }
    }
    Ok((fields, pictures))
}

/// Refuses more files and texts than a request may bring.
pub(super) fn too_many(items_max: usize, items: usize) -> Result<(), Problem> {
    if items > items_max {
        let detail = format!("the request brings more than {items_max} items");
        return Err(Problem::new(Kind::TooLarge, detail).hint("send fewer at once, or raise `server.items_max`"));
    }
    Ok(())
}
