//! What of a request's body nobody wanted: read and thrown away, so that its sender sees the answer.
//! Always true: a connection that is closed with bytes unread is reset, and takes the answer with it; whoever drops a body, wherever
//! in the server, need not think of that.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;
use tokio_stream::StreamExt;

/// Bytes of an unwanted rest that are still read.
const BYTES_MAX: usize = 256 << 20;

/// How long that may take; what does not come in time is cut off.
const TIME_MAX: Duration = Duration::from_secs(10);

/// A body whose rest is read in the background when it is dropped.
pub(super) struct Unread(Body);

impl Unread {
    /// The same body.
    pub(super) fn wrap(body: Body) -> Body {
        Body::new(Self(body))
    }
}

impl HttpBody for Unread {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // Outside of the runtime the server is stopping.
        if let (false, Ok(runtime)) = (self.0.is_end_stream(), Handle::try_current()) {
            let body = std::mem::take(&mut self.0);
            runtime.spawn(tokio::time::timeout(TIME_MAX, read_out(body)));
        }
    }
}

async fn read_out(body: Body) {
    let mut rest = body.into_data_stream();
    let mut bytes = 0;
    while let Some(Ok(chunk)) = rest.next().await {
        bytes += chunk.len();
        if bytes > BYTES_MAX {
            return;
        }
    }
}
