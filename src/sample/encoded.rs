//! Samples as the bytes that the replay buffer keeps, and by which group of their source they are held out.
//! Invariant: what is read is within the limits of its type, or refused; what was written reads back.

use super::{Action, Content, ImageTile, Modality, Passage, Transition, Window};

/// Steps of one series that are held out for the exam together, or four windows where that is more.
pub const GROUP_STEPS: u64 = 512;

/// Transitions of one episode that are held out for the exam together.
pub const GROUP_TRANSITIONS: u64 = 32;

/// Passages of one document that are held out for the exam together: few enough that a book has some in it and most out of it.
pub const GROUP_PARTS: u32 = 32;

/// The first byte of an encoded picture, passage, window and transition.
const IMAGE_V1: u8 = 1;
const TEXT_V1: u8 = 2;
const SERIES_V1: u8 = 3;
const TRANSITION_V1: u8 = 4;

/// The time of a window that has none.
const NO_TIME: i64 = i64::MIN;

/// The kinds of an encoded action.
const DISCRETE: u8 = 0;
const REAL: u8 = 1;

/// Bytes that are not an encoded [`Content`]; says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an encoded sample: {0}")]
pub struct ContentError(pub(crate) &'static str);

impl Content {
    /// The bytes the replay buffer keeps: kind and version (u8); of a picture width and height (u16, little-endian) and its
    /// pixels; of a passage the numbers of its document and of its part (u32, little-endian) and its text in UTF-8; of a window
    /// its variables (u16), first step (u64), time (i64) and values (f64); of a transition its episode and place (u64), the
    /// length of a state (u16), the kind of its action (u8) and its choice or length (u32), then both states and a real action
    /// (f32).
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Image(tile) => {
                let mut bytes = Vec::with_capacity(5 + tile.rgb.len());
                bytes.push(IMAGE_V1);
                bytes.extend_from_slice(&tile.width.to_le_bytes());
                bytes.extend_from_slice(&tile.height.to_le_bytes());
                bytes.extend_from_slice(&tile.rgb);
                bytes
            }
            Self::Text(passage) => {
                let mut bytes = Vec::with_capacity(9 + passage.text.len());
                bytes.push(TEXT_V1);
                bytes.extend_from_slice(&passage.document.to_le_bytes());
                bytes.extend_from_slice(&passage.part.to_le_bytes());
                bytes.extend_from_slice(passage.text.as_bytes());
                bytes
            }
            Self::Series(window) => {
                let mut bytes = Vec::with_capacity(19 + 8 * window.values.len());
                bytes.push(SERIES_V1);
                bytes.extend_from_slice(&window.channels.to_le_bytes());
                bytes.extend_from_slice(&window.start.to_le_bytes());
                bytes.extend_from_slice(&window.time.unwrap_or(NO_TIME).to_le_bytes());
                bytes.extend(window.values.iter().flat_map(|value| value.to_le_bytes()));
                bytes
            }
            Self::Transition(transition) => {
                let (kind, number, real): (_, _, &[f32]) = match &transition.action {
                    Action::Discrete(choice) => (DISCRETE, *choice, &[]),
                    Action::Real(numbers) => (REAL, numbers.len() as u32, numbers),
                };
                let floats = [&transition.state, &transition.next_state, real];
                let mut bytes = Vec::with_capacity(24 + 4 * floats.iter().map(|floats| floats.len()).sum::<usize>());
                bytes.push(TRANSITION_V1);
                bytes.extend_from_slice(&transition.episode.to_le_bytes());
                bytes.extend_from_slice(&transition.t.to_le_bytes());
                bytes.extend_from_slice(&(transition.state.len() as u16).to_le_bytes());
                bytes.push(kind);
                bytes.extend_from_slice(&number.to_le_bytes());
                bytes.extend(floats.into_iter().flatten().flat_map(|value| value.to_le_bytes()));
                bytes
            }
        }
    }

    /// The content that [`Content::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        match bytes {
            [IMAGE_V1, w0, w1, h0, h1, rgb @ ..] => {
                let (width, height) = (u16::from_le_bytes([*w0, *w1]), u16::from_le_bytes([*h0, *h1]));
                if width == 0 || height == 0 || rgb.len() != usize::from(width) * usize::from(height) * 3 {
                    return Err(ContentError("the picture's size and its bytes disagree"));
                }
                Ok(Self::Image(ImageTile {
                    width,
                    height,
                    rgb: rgb.to_vec(),
                }))
            }
            [TEXT_V1, d0, d1, d2, d3, p0, p1, p2, p3, text @ ..] => match std::str::from_utf8(text) {
                Ok(text) if !text.is_empty() => Ok(Self::Text(Passage {
                    text: text.to_owned(),
                    document: u32::from_le_bytes([*d0, *d1, *d2, *d3]),
                    part: u32::from_le_bytes([*p0, *p1, *p2, *p3]),
                })),
                Ok(_) => Err(ContentError("the passage is empty")),
                Err(_) => Err(ContentError("the passage is not UTF-8")),
            },
            [SERIES_V1, rest @ ..] => window(rest).map(Self::Series),
            [TRANSITION_V1, rest @ ..] => transition(rest).map(Self::Transition),
            _ => Err(ContentError("unknown kind or version")),
        }
    }

    /// The group of its source that encoded content is held out by, all of it or none: a document, of a long one each
    /// [`GROUP_PARTS`] passages; the windows that begin in the same [`GROUP_STEPS`] steps; [`GROUP_TRANSITIONS`] of an episode. A
    /// picture is its source's only one.
    pub fn group_of(encoded: &[u8]) -> u64 {
        match encoded {
            [TEXT_V1, d0, d1, d2, d3, p0, p1, p2, p3, ..] => {
                let document = u32::from_le_bytes([*d0, *d1, *d2, *d3]);
                let part = u32::from_le_bytes([*p0, *p1, *p2, *p3]);
                u64::from(document) << 32 | u64::from(part / GROUP_PARTS)
            }
            [SERIES_V1, c0, c1, rest @ ..] => {
                // Long windows are in longer groups: else every step of one would be in its neighbours too.
                let channels = usize::from(u16::from_le_bytes([*c0, *c1])).max(1);
                let steps = (rest.len().saturating_sub(16) / 8 / channels) as u64;
                first_u64(rest) / GROUP_STEPS.max(4 * steps)
            }
            [TRANSITION_V1, rest @ ..] => {
                let t = first_u64(rest.get(8..).unwrap_or_default());
                (first_u64(rest) << 32) | (t / GROUP_TRANSITIONS)
            }
            _ => 0,
        }
    }

    /// What kind of data it is of.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Image(_) => Modality::Image,
            Self::Text(_) => Modality::Text,
            Self::Series(_) => Modality::Series,
            Self::Transition(_) => Modality::Transition,
        }
    }
}

/// The number that bytes begin with; 0 where they are too few.
fn first_u64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A window from what follows its first byte.
fn window(bytes: &[u8]) -> Result<Window, ContentError> {
    let cut = ContentError("the window is cut short");
    let (channels, rest) = bytes.split_first_chunk().ok_or(cut.clone())?;
    let (start, rest) = rest.split_first_chunk().ok_or(cut.clone())?;
    let (time, rest) = rest.split_first_chunk().ok_or(cut)?;
    let (values, left) = rest.as_chunks();
    let channels = u16::from_le_bytes(*channels);
    let time = i64::from_le_bytes(*time);
    if channels == 0 || values.is_empty() || !left.is_empty() || values.len() % usize::from(channels) != 0 {
        return Err(ContentError("the window's variables and its numbers disagree"));
    }
    let values: Vec<f64> = values.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    if values.iter().any(|value| value.is_infinite()) || values.iter().all(|value| value.is_nan()) {
        return Err(ContentError("the window has no number, or an infinite one"));
    }
    Ok(Window {
        channels,
        values,
        start: u64::from_le_bytes(*start),
        time: (time != NO_TIME).then_some(time),
    })
}

/// A transition from what follows its first byte.
fn transition(bytes: &[u8]) -> Result<Transition, ContentError> {
    let cut = ContentError("the transition is cut short");
    let (episode, rest) = bytes.split_first_chunk().ok_or(cut.clone())?;
    let (t, rest) = rest.split_first_chunk().ok_or(cut.clone())?;
    let (dims, rest) = rest.split_first_chunk().ok_or(cut.clone())?;
    let (kind, rest) = rest.split_first_chunk().ok_or(cut.clone())?;
    let (number, rest) = rest.split_first_chunk().ok_or(cut)?;
    let (floats, left) = rest.as_chunks();
    let dims = usize::from(u16::from_le_bytes(*dims));
    let number = u32::from_le_bytes(*number);
    let real = match kind {
        [DISCRETE] => 0,
        [REAL] => number as usize,
        _ => return Err(ContentError("the action is of an unknown kind")),
    };
    if dims == 0 || !left.is_empty() || floats.len() != 2 * dims + real {
        return Err(ContentError("the transition's lengths and its numbers disagree"));
    }
    if floats.iter().any(|bytes| !f32::from_le_bytes(*bytes).is_finite()) {
        return Err(ContentError("a number of the transition is not finite"));
    }
    let numbers = |from: usize, count: usize| {
        let floats = floats[from..from + count].iter();
        floats.map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<_>>()
    };
    Ok(Transition {
        episode: u64::from_le_bytes(*episode),
        t: u64::from_le_bytes(*t),
        state: numbers(0, dims),
        action: match kind {
            [DISCRETE] => Action::Discrete(number),
            _ => Action::Real(numbers(2 * dims, real)),
        },
        next_state: numbers(dims, dims),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_reads_back_as_it_was_written() {
        let content = Content::Image(ImageTile {
            width: 2,
            height: 1,
            rgb: vec![1, 2, 3, 4, 5, 6],
        });
        assert_eq!(Content::decode(&content.encode()), Ok(content));
    }

    #[test]
    fn a_passage_reads_back_as_it_was_written_and_a_spoilt_one_is_refused() {
        let content = Content::Text(Passage {
            text: "naïve\nτέχνη".to_owned(),
            document: 70_000,
            part: 3,
        });
        let bytes = content.encode();
        assert_eq!(Content::decode(&bytes), Ok(content));
        assert!(Content::decode(&bytes[..9]).is_err(), "an empty one was taken");
        assert!(Content::decode(&bytes[..12]).is_err(), "half a letter was taken");
    }

    #[test]
    fn a_window_and_a_transition_read_back_as_they_were_written_and_cut_ones_are_refused() {
        let transition = |action| {
            Content::Transition(Transition {
                episode: 7,
                t: 3,
                state: vec![0.5, -1.0],
                action,
                next_state: vec![0.25, 1e30],
            })
        };
        let window = Content::Series(Window {
            channels: 2,
            values: vec![1.0, -2e300, 3.0, 4.0],
            start: 3 * GROUP_STEPS + 5,
            time: Some(-1),
        });
        assert_eq!(Content::group_of(&window.encode()), 3);
        let each = [
            window,
            transition(Action::Discrete(3)),
            transition(Action::Real(vec![0.5; 3])),
        ];
        for content in each {
            let bytes = content.encode();
            assert_eq!(Content::decode(&bytes).as_ref(), Ok(&content));
            assert!((0..bytes.len()).all(|len| len % 16 == 3 && len > 19 || Content::decode(&bytes[..len]).is_err()));
        }
        assert_eq!(Content::group_of(&transition(Action::Discrete(0)).encode()), 7 << 32);
    }

    #[test]
    fn a_cut_picture_is_refused() {
        let bytes = Content::Image(ImageTile {
            width: 2,
            height: 1,
            rgb: vec![0; 6],
        })
        .encode();
        for len in 0..bytes.len() {
            assert!(Content::decode(&bytes[..len]).is_err(), "{len} bytes were taken");
        }
    }
}
