//! Lines of an answer of the platform's own service, as they come.

use bytes::{Buf as _, Bytes, BytesMut};
use ephyra_wire::client::{Answer, ClientError};

/// Takes an answer apart into lines.
pub(crate) struct Lines {
    answer: Answer,
    rest: BytesMut,
}

impl Lines {
    pub(crate) fn new(answer: Answer) -> Self {
        Self {
            answer,
            rest: BytesMut::new(),
        }
    }

    /// The next line, without its end; `None` when there are no more.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let mut seen = 0;
        loop {
            if let Some(end) = self.rest[seen..].iter().position(|&byte| byte == b'\n') {
                let line = self.rest.split_to(seen + end).freeze();
                self.rest.advance(1);
                return Ok(Some(line));
            }
            seen = self.rest.len();
            match self.answer.part().await? {
                Some(part) => self.rest.extend_from_slice(&part),
                None => return Ok(None),
            }
        }
    }
}
