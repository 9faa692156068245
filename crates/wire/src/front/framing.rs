//! Where one HTTP/1 request ends and the next begins, held to the letter of RFC 9112.
//!
//! hyper forgives what a server alone may forgive: bare line feeds, a length beside chunks, a length that is said twice.
//! Behind a proxy that reads such a request in another way, its rest becomes a request that nobody has sent (request
//! smuggling). So every byte of a connection comes by here first: what is not exactly as the standard says ends the
//! connection before hyper has a whole request, and all that is let through both read alike. Bodies are only counted.
//!
//! **Invariant:** pure: no clock, no I/O; holds at most `limit` bytes of an unfinished line.

use memchr::memchr;

/// What an HTTP/2 connection begins with (RFC 9113, 3.4), up to the end of the first line.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";
/// Bytes of a chunk's first line: its size, and extensions that mean nothing here.
const CHUNK_LINE: usize = 1024;
/// Bytes of all trailers of a request.
const TRAILERS: usize = 16 * 1024;
/// Empty lines before a request, which some clients send behind a body (RFC 9112, 2.2).
const EMPTY_LINES: u8 = 2;

/// A connection's place in its requests.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    head: Head,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    limit: usize,
    is_foreign: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a request's first line, or in it. How many empty lines came instead, and whether anything was before.
    Request { empty: u8, is_first: bool },
    /// Among the headers.
    Headers,
    /// So many bytes of a body are still to come.
    Body(u64),
    /// In a chunk's first line.
    ChunkSize,
    /// So many bytes of a chunk are still to come.
    Chunk(u64),
    /// Before the carriage return behind a chunk.
    ChunkCr,
    /// Between it and its line feed.
    ChunkLf,
    /// Behind the last chunk; so many bytes have come of it.
    Trailers(usize),
    /// Nothing here is HTTP/1.
    Http2,
}

/// What the lines of a head have said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Head {
    is_http_11: bool,
    has_host: bool,
    is_chunked: bool,
    length: Option<u64>,
}

/// What came is not a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// Only so many of the bytes may be passed on.
    pub(super) before: usize,
    /// Whether the connection began with something that nobody would answer in HTTP/1.
    pub(super) is_foreign: bool,
}

impl Framing {
    /// For a new connection, of whose unfinished lines `limit` bytes are kept at most.
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            state: State::Request {
                empty: 0,
                is_first: true,
            },
            head: Head {
                is_http_11: false,
                has_host: false,
                is_chunked: false,
                length: None,
            },
            partial: Vec::new(),
            limit,
            is_foreign: false,
        }
    }

    /// Follows the next bytes of the connection, however they are cut. After an error nothing may follow.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = bytes.len() - rest.len();
            match self.state {
                State::Http2 => return Ok(()),
                State::Body(left) => {
                    let left = skip(&mut rest, left);
                    self.state = if left == 0 { State::next() } else { State::Body(left) };
                }
                State::Chunk(left) => {
                    let left = skip(&mut rest, left);
                    self.state = if left == 0 { State::ChunkCr } else { State::Chunk(left) };
                }
                State::ChunkCr | State::ChunkLf => {
                    let (want, then) = match self.state {
                        State::ChunkCr => (b'\r', State::ChunkLf),
                        _ => (b'\n', State::ChunkSize),
                    };
                    if rest[0] != want {
                        return Err(self.malformed(before));
                    }
                    rest = &rest[1..];
                    self.state = then;
                }
                State::Request { .. } | State::Headers | State::ChunkSize | State::Trailers(_) => {
                    self.follow_line(&mut rest).ok_or_else(|| self.malformed(before))?;
                }
            }
        }
        Ok(())
    }

    /// Whether what has come is less than a first line, of the length that a name and a version have: who is refused so
    /// early does not speak HTTP.
    pub(super) const fn is_beginning(&self) -> bool {
        matches!(self.state, State::Request { is_first: true, .. }) && self.partial.len() < CHUNK_LINE
    }

    const fn malformed(&self, before: usize) -> Malformed {
        Malformed {
            before,
            is_foreign: self.is_foreign,
        }
    }

    /// Takes a line, or the part of it that has come; `None` when it is malformed.
    fn follow_line(&mut self, rest: &mut &[u8]) -> Option<()> {
        let Some(end) = memchr(b'\n', rest) else {
            let limit = if self.state == State::ChunkSize {
                CHUNK_LINE
            } else {
                self.limit
            };
            if rest.len() > limit.saturating_sub(self.partial.len()) {
                return None;
            }
            self.partial.extend_from_slice(rest);
            *rest = &[];
            return Some(());
        };
        let (line, after) = rest.split_at(end + 1);
        *rest = after;
        self.state = if self.partial.is_empty() {
            self.read_line(line)?
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(line);
            self.read_line(&whole)?
        };
        Some(())
    }

    /// What comes behind a whole line.
    fn read_line(&mut self, whole: &[u8]) -> Option<State> {
        let line = whole.strip_suffix(b"\r\n")?;
        match self.state {
            State::Request { empty, is_first } if line.is_empty() => (empty < EMPTY_LINES).then_some(State::Request {
                empty: empty + 1,
                is_first,
            }),
            State::Request { is_first: true, .. } if whole == HTTP2 => Some(State::Http2),
            State::Request { is_first, .. } => {
                self.is_foreign = is_first && memchr::memmem::find(line, b" HTTP/").is_none();
                self.head = Head {
                    is_http_11: read_request_line(line)?,
                    ..Head::default()
                };
                Some(State::Headers)
            }
            State::Headers if line.is_empty() => self.head.end(),
            State::Headers => {
                self.head.read(line)?;
                Some(State::Headers)
            }
            State::ChunkSize => match read_chunk_size(line)? {
                0 => Some(State::Trailers(0)),
                size => Some(State::Chunk(size)),
            },
            State::Trailers(_) if line.is_empty() => Some(State::next()),
            State::Trailers(bytes) => {
                let (name, _) = split_header(line)?;
                // What says where a request ends or for whom it is has its place before the body.
                let is_late = framing_name(name).is_none();
                let bytes = bytes + whole.len();
                (is_late && bytes <= TRAILERS).then_some(State::Trailers(bytes))
            }
            State::Body(_) | State::Chunk(_) | State::ChunkCr | State::ChunkLf | State::Http2 => None,
        }
    }
}

impl State {
    /// Before the next request.
    const fn next() -> Self {
        Self::Request {
            empty: 0,
            is_first: false,
        }
    }
}

impl Head {
    /// Reads one header; `None` when it is malformed, or does not go with those before it.
    fn read(&mut self, line: &[u8]) -> Option<()> {
        let (name, value) = split_header(line)?;
        let is_sound = match framing_name(name) {
            None => true,
            Some(FramingName::Obscured) => false,
            Some(FramingName::Host) => !std::mem::replace(&mut self.has_host, true),
            Some(FramingName::Length) => {
                // One length, even if a second says the same; and no chunks.
                let length = read_length(trim(value))?;
                !self.is_chunked && self.length.replace(length).is_none()
            }
            Some(FramingName::Encoding) => {
                let is_alone = self.length.is_none() && !std::mem::replace(&mut self.is_chunked, true);
                is_alone && self.is_http_11 && trim(value).eq_ignore_ascii_case(b"chunked")
            }
        };
        is_sound.then_some(())
    }

    /// What comes behind the head.
    fn end(&self) -> Option<State> {
        if self.is_http_11 && !self.has_host {
            return None;
        }
        Some(match self.length {
            _ if self.is_chunked => State::ChunkSize,
            None | Some(0) => State::next(),
            Some(length) => State::Body(length),
        })
    }
}

/// The headers that say where a request ends or for whom it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FramingName {
    Host,
    Length,
    Encoding,
    /// One of these with an underscore, which some take for a hyphen.
    Obscured,
}

fn framing_name(name: &[u8]) -> Option<FramingName> {
    let is = |want: &[u8]| {
        let mut pairs = name.iter().zip(want);
        pairs.all(|(byte, want)| byte.to_ascii_lowercase() == *want || (*byte == b'_' && *want == b'-'))
    };
    let found = match name.len() {
        4 if is(b"host") => FramingName::Host,
        14 if is(b"content-length") => FramingName::Length,
        17 if is(b"transfer-encoding") => FramingName::Encoding,
        _ => return None,
    };
    Some(if name.contains(&b'_') {
        FramingName::Obscured
    } else {
        found
    })
}

/// Method, target and version, each with one space between; whether it is HTTP/1.1.
fn read_request_line(line: &[u8]) -> Option<bool> {
    let (rest, version) = line.split_at_checked(line.len().checked_sub(b" HTTP/1.1".len())?)?;
    let is_http_11 = match version {
        b" HTTP/1.1" => true,
        b" HTTP/1.0" => false,
        _ => return None,
    };
    let space = memchr(b' ', rest)?;
    let (method, target) = (&rest[..space], &rest[space + 1..]);
    // A fragment is never sent; http::Uri would drop it, and others would not.
    let is_target = |byte: &u8| matches!(byte, b'!'..=b'~') && *byte != b'#';
    let is_sound = !method.is_empty()
        && method.iter().all(|byte| is_token(*byte))
        && !target.is_empty()
        && target.iter().all(is_target);
    is_sound.then_some(is_http_11)
}

/// Name and value, with the white space around the value; `None` for a line that is not a header, or goes on from the
/// line before (RFC 9112, 5.2).
fn split_header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(|byte| !is_token(*byte))?;
    let (name, value) = line.split_at(end);
    let value = value.strip_prefix(b":")?;
    (!name.is_empty()).then_some((name, value))
}

/// `tchar` of RFC 9110, 5.6.2: looked up, as every byte of every name is.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let is_sign = matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        table[byte as usize] = byte.is_ascii_alphanumeric() || is_sign;
        byte += 1;
    }
    table
};

fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Digits and nothing else.
fn read_length(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number
        .then(|| std::str::from_utf8(value).ok()?.parse().ok())
        .flatten()
}

/// Hexadecimal digits, and perhaps extensions: visible characters behind a semicolon.
fn read_chunk_size(line: &[u8]) -> Option<u64> {
    let (digits, extension) = line.split_at(memchr(b';', line).unwrap_or(line.len()));
    let is_number = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let is_visible = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    if !is_number || line.len() > CHUNK_LINE || !extension.iter().all(is_visible) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Takes up to `left` bytes away; how many are then left.
fn skip(rest: &mut &[u8], left: u64) -> u64 {
    let length = u64::try_from(rest.len()).unwrap_or(u64::MAX).min(left);
    *rest = &rest[usize::try_from(length).unwrap_or(rest.len())..];
    left - length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 64 * 1024;

    /// Where the first malformed byte is, if there is one, and the state behind it all.
    fn follow(parts: &[&[u8]]) -> (Option<usize>, State) {
        let mut framing = Framing::new(LIMIT);
        let mut before = 0;
        for part in parts {
            if let Err(malformed) = framing.follow(part) {
                return (Some(before + malformed.before), framing.state);
            }
            before += part.len();
        }
        (None, framing.state)
    }

    #[track_caller]
    fn check(text: &str, want: Option<State>) {
        let (malformed, state) = follow(&[text.as_bytes()]);
        match want {
            Some(want) => assert_eq!((malformed, state), (None, want), "{text:?}"),
            None => assert!(malformed.is_some(), "{text:?} leads to {state:?}"),
        }
        // However it is cut, it means the same.
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        let (cut, cut_state) = follow(&bytes);
        assert_eq!(cut.is_some(), malformed.is_some(), "{text:?}");
        assert!(cut.is_some() || cut_state == state, "{text:?}");
    }

    #[test]
    fn whole_requests_lead_to_the_next() {
        let next = Some(State::next());
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", next);
        check("GET / HTTP/1.0\r\n\r\n", next);
        check(
            "\r\nGET /?a=%zz HTTP/1.1\r\nhost:a\r\n\r\n\r\n\r\n",
            Some(State::Request {
                empty: 2,
                is_first: false,
            }),
        );
        check("POST / HTTP/1.1\r\nhost: a\r\nContent-Length: \t3 \r\n\r\nabc", next);
        check("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", next);
        check(
            "POST / HTTP/1.1\r\nhost: a\r\nContent-Length: 5\r\n\r\nabc",
            Some(State::Body(2)),
        );
        let chunked = "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n";
        check(
            &format!("{chunked}3;x=\"y\"\r\nabc\r\nA\r\n0123456789\r\n00\r\nx: y\r\n\r\n"),
            next,
        );
        check(&format!("{chunked}3\r\nab"), Some(State::Chunk(1)));
        check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\n\n", Some(State::Http2));
    }

    #[test]
    fn what_two_could_read_in_two_ways_is_malformed() {
        for head in [
            "GET / HTTP/1.1\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n\n",
            "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.2\r\nhost: a\r\n\r\n",
            "GET /#a HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
            "GET / HTTP/1.1\r\n host: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nb\r\n\r\n",
            "\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n\r\nPRI * HTTP/2.0\r\n",
        ] {
            check(head, None);
        }
        for lines in [
            "content-length: 1\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 1",
            "content-length: 1\r\ncontent-length: 1",
            "content-length: 1, 1",
            "content-length: +1",
            "content-length: -1",
            "content-length: 0x1",
            "content-length:",
            "content-length: 1 1",
            "content-length: 18446744073709551616",
            "content_length: 1",
            "transfer_encoding: chunked",
            "transfer-encoding: chunked, chunked",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: identity",
            "transfer-encoding: \x0bchunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        ] {
            check(&format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n"), None);
        }
        check("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", None);
        for body in [
            "x\r\n",
            "\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            "1 \r\n",
            " 1\r\n",
            "1\n",
            "1;a\n",
            "1;\0\r\n",
            "11111111111111111\r\n",
            "1\r\naa\r\n",
            "1\r\na\n",
            "1\r\na\rb",
            "0\r\ncontent-length: 1\r\n",
            "0\r\nhost: a\r\n",
            "0\r\n a: b\r\n",
            "0\r\na\r\n",
            "0\r\n\n",
        ] {
            check(
                &format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}"),
                None,
            );
        }
        check(
            &format!(
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1;{}",
                "a".repeat(1030)
            ),
            None,
        );
        let trailers = format!("a: {}\r\n", "b".repeat(1000)).repeat(17);
        check(
            &format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{trailers}"),
            None,
        );
    }

    #[test]
    fn nothing_of_a_malformed_line_is_passed_on() {
        let good = "GET / HTTP/1.1\r\nhost: a\r\n";
        let (malformed, _) = follow(&[format!("{good}content-length: x\r\n\r\n").as_bytes()]);
        assert_eq!(malformed, Some(good.len()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_are_followed_and_little_is_kept(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8)) {
            let mut framing = Framing::new(200);
            for part in &parts {
                match framing.follow(part) {
                    Ok(()) => prop_assert!(framing.partial.len() <= CHUNK_LINE.max(200)),
                    Err(malformed) => { prop_assert!(malformed.before < part.len()); break; }
                }
            }
        }

        #[test]
        fn requests_are_followed_however_they_are_cut(
            bodies in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..5),
            cuts in prop::collection::vec(1..30_usize, 1..40),
        ) {
            let mut stream = Vec::new();
            for (body, is_chunked) in &bodies {
                stream.extend_from_slice(b"POST /a HTTP/1.1\r\nHost: a\r\n");
                if *is_chunked {
                    stream.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                    for chunk in body.chunks(7) {
                        stream.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                        stream.extend_from_slice(chunk);
                        stream.extend_from_slice(b"\r\n");
                    }
                    stream.extend_from_slice(b"0\r\n\r\n");
                } else {
                    stream.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                    stream.extend_from_slice(body);
                }
            }
            let mut framing = Framing::new(LIMIT);
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (part, after) = rest.split_at((*cut).min(rest.len()));
                prop_assert_eq!(framing.follow(part), Ok(()));
                rest = after;
            }
            prop_assert_eq!(framing.state, State::next());
        }
    }
}
