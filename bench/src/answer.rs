//! HTTP/1.1 answers as they come in, bytes by bytes.

use anyhow::{Context, Result, bail, ensure};

/// The longest answer that is read, in bytes.
const MAX_BYTES: usize = 16 << 20;

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Lambda's way to say that the function failed.
    pub(crate) is_function_error: bool,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The body, when the call was a success.
    pub(crate) fn success(self, what: &str) -> Result<Vec<u8>> {
        let text = || String::from_utf8_lossy(&self.body).into_owned();
        ensure!(!self.is_function_error, "{what}: the function failed: {}", text());
        ensure!(
            (200..300).contains(&self.status),
            "{what} was answered {}: {}",
            self.status,
            text()
        );
        Ok(self.body)
    }
}

/// What has come of an answer so far.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    head: Option<Head>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    end: usize,
    status: u16,
    length: Length,
    is_function_error: bool,
}

#[derive(Clone, Copy, Debug)]
enum Length {
    Bytes(usize),
    Chunked,
}

impl Reader {
    /// Takes bytes in, and gives the answer out when it is whole.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Option<Reply>> {
        ensure!(!bytes.is_empty(), "the connection was closed before the answer");
        ensure!(self.bytes.len() + bytes.len() <= MAX_BYTES, "the answer does not end");
        let from = self.bytes.len().saturating_sub(3);
        self.bytes.extend_from_slice(bytes);
        if self.head.is_none() {
            let Some(found) = self.bytes[from..].windows(4).position(|four| four == b"\r\n\r\n") else {
                return Ok(None);
            };
            self.head = Some(head(&self.bytes[..from + found + 4])?);
        }
        let Some(head) = self.head else { return Ok(None) };
        let body = &self.bytes[head.end..];
        let body = match head.length {
            Length::Bytes(length) if body.len() < length => return Ok(None),
            Length::Bytes(length) => {
                ensure!(body.len() == length, "more came than the answer");
                body.to_vec()
            }
            Length::Chunked => match unchunk(body)? {
                None => return Ok(None),
                Some(body) => body,
            },
        };
        self.bytes.clear();
        self.head = None;
        Ok(Some(Reply {
            status: head.status,
            is_function_error: head.is_function_error,
            body,
        }))
    }
}

fn head(bytes: &[u8]) -> Result<Head> {
    let text = std::str::from_utf8(bytes).context("an answer's head is text")?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .context("this is no HTTP/1.1 answer")?;
    let (mut length, mut is_function_error) = (None, false);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(Length::Bytes(value.parse().context("a length is a number")?));
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            ensure!(value.eq_ignore_ascii_case("chunked"), "{value} is not understood");
            length = Some(Length::Chunked);
        } else if name.eq_ignore_ascii_case("x-amz-function-error") {
            is_function_error = true;
        }
    }
    if length.is_none() && status != 204 {
        bail!("an answer does not say how long it is");
    }
    Ok(Head {
        end: bytes.len(),
        status,
        length: length.unwrap_or(Length::Bytes(0)),
        is_function_error,
    })
}

/// The body of its chunks, when all of them are there.
fn unchunk(mut bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&bytes[..end]).context("a chunk's size is text")?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).context("a chunk's size is a number")?;
        ensure!(size <= MAX_BYTES, "a chunk is too long");
        let rest = &bytes[end + 2..];
        if rest.len() < size + 2 {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(&rest[..size]);
        bytes = &rest[size + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fed byte by byte and at once, it must come to the same.
    #[track_caller]
    fn check(text: &str, want: &Reply) {
        let mut reader = Reader::default();
        assert_eq!(reader.feed(text.as_bytes()).unwrap().as_ref(), Some(want));
        let (last, first) = text.as_bytes().split_last().unwrap();
        for byte in first {
            assert_eq!(reader.feed(&[*byte]).unwrap(), None);
        }
        assert_eq!(reader.feed(&[*last]).unwrap().as_ref(), Some(want));
    }

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status,
            is_function_error: false,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn answers_are_read_by_length_and_by_chunks() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull", &reply(200, "null"));
        check("HTTP/1.1 204 No Content\r\ndate: now\r\n\r\n", &reply(204, ""));
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nnul\r\n1;x=y\r\nl\r\n0\r\n\r\n",
            &reply(200, "null"),
        );
        let failed = "HTTP/1.1 200 OK\r\nX-Amz-Function-Error: Unhandled\r\ncontent-length: 2\r\n\r\n{}";
        let read = Reader::default().feed(failed.as_bytes()).unwrap().unwrap();
        assert!(read.is_function_error && read.success("it").is_err());
        assert_eq!(reply(201, "x").success("it").unwrap(), b"x");
        assert!(reply(500, "x").success("it").is_err());
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for text in [
            "",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxx",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(Reader::default().feed(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
