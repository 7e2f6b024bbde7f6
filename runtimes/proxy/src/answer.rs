//! What the proxy answers, and how much of it is in memory.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use chasen_runtime::connection::Body;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::{Frame, SizeHint};

/// An answer over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Payload,
}

/// A body of known length. Of an answer that was too long to be kept the rest is blanks: whoever reads it learns its
/// length, and would not have used that part either.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Payload {
    kept: Bytes,
    blanks: u64,
}

/// No answer: the connection is closed, as when the server behind it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the runtime ended without an answer")]
pub(crate) struct Silence;

/// Answer or silence.
pub(crate) type Outcome = Result<Answer, Silence>;

impl Answer {
    /// JSON, or text that is not.
    pub(crate) fn new(status: u16, body: Payload) -> Self {
        let is_json = body.kept.first().is_none_or(|first| *first != b'O');
        let content_type = if is_json { "application/json" } else { "text/plain" };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), headers, body }
    }

    /// Nothing, with this status.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Payload::default() }
    }
}

impl From<Answer> for Response<Payload> {
    fn from(answer: Answer) -> Self {
        let mut response = Self::new(answer.body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response
    }
}

impl Payload {
    /// What is in memory; all of it unless the answer was cut.
    pub(crate) fn kept(&self) -> &[u8] {
        &self.kept
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self { kept: bytes.into(), blanks: 0 }
    }
}

impl From<Body> for Payload {
    fn from(body: Body) -> Self {
        match body {
            Body::Whole(kept) => kept.into(),
            Body::Cut { length, kept } => {
                let blanks = length.saturating_sub(kept.len() as u64);
                Self { kept: kept.into(), blanks }
            }
        }
    }
}

impl hyper::body::Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const BLANKS: [u8; 16 * 1024] = [b' '; 16 * 1024];
        if !self.kept.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.kept)))));
        }
        if self.blanks == 0 {
            return Poll::Ready(None);
        }
        let count = usize::try_from(self.blanks).unwrap_or(usize::MAX).min(BLANKS.len());
        self.blanks = self.blanks.saturating_sub(count as u64);
        let blanks = Bytes::from_static(&BLANKS).slice(..count);
        Poll::Ready(Some(Ok(Frame::data(blanks))))
    }

    fn is_end_stream(&self) -> bool {
        self.kept.is_empty() && self.blanks == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.kept.len() as u64).saturating_add(self.blanks))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn cut_answers_have_their_whole_length() {
        let cut = Payload::from(Body::Cut { length: 50_000, kept: b"{\"a\":".to_vec() });
        assert_eq!(hyper::body::Body::size_hint(&cut).exact(), Some(50_000));
        let bytes = cut.collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), 50_000);
        assert!(bytes.starts_with(b"{\"a\":  ") && bytes.ends_with(b" "));
    }
}
