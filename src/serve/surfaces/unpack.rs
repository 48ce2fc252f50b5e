//! Bodies that come packed (`Content-Encoding: gzip` or `deflate`), as some clients send them.
//! Invariant: how long a body gets is counted before any of it is kept, and never more than one request may bring.

use std::io::{self, Read};

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use tokio::sync::OwnedSemaphorePermit;

use crate::serve::problem::{Kind, Problem};
use crate::serve::{AppState, blocking, body};

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Deflate,
}

impl Packing {
    /// How the body of a request with these headers is packed; None where it is not.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut named = headers.get_all(header::CONTENT_ENCODING).iter();
        let (Some(name), None) = (named.next(), named.next()) else {
            return match headers.contains_key(header::CONTENT_ENCODING) {
                true => Err(unknown("several things")),
                false => Ok(None),
            };
        };
        let name = name.to_str().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            "identity" | "" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "deflate" => Ok(Some(Self::Deflate)),
            other => Err(unknown(other)),
        }
    }

    fn reader(self, bytes: &[u8]) -> Box<dyn Read + '_> {
        match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(bytes)),
            Self::Deflate => Box::new(ZlibDecoder::new(bytes)),
        }
    }

    /// How long a body gets, or one more than `max` where it is longer.
    fn len(self, bytes: &[u8], max: usize) -> io::Result<usize> {
        let mut within = self.reader(bytes).take(max as u64 + 1);
        io::copy(&mut within, &mut io::sink()).map(|len| len as usize)
    }
}

fn unknown(name: &str) -> Problem {
    Problem::new(Kind::UnsupportedType, format!("the body is packed by {name}"))
        .hint("send it as it is, or packed by gzip or deflate")
}

/// The body unpacked, and its room.
pub(super) async fn unpack(
    state: &AppState,
    packing: Packing,
    packed: Bytes,
) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
    let max = state.config.body_bytes_max;
    let broken =
        |error: io::Error| Problem::new(Kind::MalformedRequest, format!("the body can not be unpacked: {error}"));
    let counted = packed.clone();
    let len = blocking(move || packing.len(&counted, max)).await?.map_err(broken)?;
    if len > max {
        let detail = format!("the body has more than {max} bytes when it is unpacked");
        return Err(Problem::new(Kind::TooLarge, detail).hint("send less at once, or raise `server.body_bytes_max`"));
    }
    let permit = body::room(state, len)?;
    blocking(move || {
        let mut bytes = Vec::with_capacity(len);
        packing.reader(&packed).read_to_end(&mut bytes).map_err(broken)?;
        Ok((bytes.into(), permit))
    })
    .await?
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    #[test]
    fn the_length_of_a_packed_body_is_told_up_to_the_bound() {
        let long = vec![7; 1 << 20];
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&long).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut deflate = ZlibEncoder::new(Vec::new(), Compression::best());
        deflate.write_all(&long).unwrap();
        let deflate = deflate.finish().unwrap();
        for (packing, bytes) in [(Packing::Gzip, gzip), (Packing::Deflate, deflate)] {
            assert_eq!(packing.len(&bytes, 2 << 20).unwrap(), 1 << 20);
            assert_eq!(packing.len(&bytes, 1_000).unwrap(), 1_001);
            assert!(packing.len(&bytes[..bytes.len() / 2], 2 << 20).is_err());
            assert!(packing.len(b"not packed", 100).is_err());
        }
    }

    #[test]
    fn an_encoding_that_is_unknown_is_refused() {
        let of = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, name.parse().unwrap());
            Packing::of(&headers)
        };
        assert_eq!(Packing::of(&HeaderMap::new()).unwrap(), None);
        assert_eq!(of("GZIP").unwrap(), Some(Packing::Gzip));
        assert_eq!(of("deflate").unwrap(), Some(Packing::Deflate));
        assert_eq!(of("br").unwrap_err().status, 415);
        assert_eq!(of("gzip, gzip").unwrap_err().status, 415);
    }
}
