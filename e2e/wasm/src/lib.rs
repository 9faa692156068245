//! A component that answers HTTP: it says what it was asked. Its path decides what else it does.
#![cfg(target_env = "p2")]

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};

struct Answers;

wasip2::http::proxy::export!(Answers);

impl Guest for Answers {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let mut status = 200;
        match path.as_str() {
            "/silent" => return,
            "/refused" => status = 418,
            "/panic" => panic!("asked to"),
            "/late" => std::thread::sleep(std::time::Duration::from_secs(2)),
            "/spin" => loop {
                std::hint::black_box(&path);
            },
            _ => {}
        }
        let body = if path == "/out" { outside() } else { told(&request, &path) };
        println!("printed for {path}");
        let fields = Fields::new();
        for (name, value) in [("content-type", "application/json"), ("set-cookie", "a=1"), ("set-cookie", "b=2")] {
            fields.append(name, value.as_bytes()).expect("a header");
        }
        let response = OutgoingResponse::new(fields);
        response.set_status_code(status).expect("a status");
        let outgoing = response.body().expect("a body");
        let handle = out.handle();
        ResponseOutparam::set(out, Ok(response));
        let stream = outgoing.write().expect("a stream");
        let parts = if path == "/parts" { 200 } else { 1 };
        for _ in 0..parts {
            for part in body.as_bytes().chunks(4096) {
                stream.blocking_write_and_flush(part).expect("it is taken");
            }
        }
        drop(stream);
        if path != "/unfinished" {
            OutgoingBody::finish(outgoing, None).expect("the end");
        }
        if path == "/twice" {
            // What was given away is used again, as Rust's types would not let us.
            let again = unsafe { ResponseOutparam::from_handle(handle) };
            ResponseOutparam::set(again, Ok(OutgoingResponse::new(Fields::new())));
        }
    }
}

/// What the component was asked.
fn told(request: &IncomingRequest, path: &str) -> String {
    let method = match request.method() {
        Method::Get => "GET".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Put => "PUT".to_owned(),
        other => format!("{other:?}"),
    };
    let headers: Vec<String> = request
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| format!("{name:?}: {:?}", String::from_utf8_lossy(&value)))
        .collect();
    let body = request.consume().expect("a body");
    let stream = body.stream().expect("a stream");
    let mut bytes = Vec::new();
    while let Ok(part) = stream.blocking_read(1 << 16) {
        bytes.extend_from_slice(&part);
    }
    format!(
        "{{\"method\": {method:?}, \"path\": {path:?}, \"headers\": {{{}}}, \"body\": {:?}}}",
        headers.join(", "),
        String::from_utf8_lossy(&bytes),
    )
}

/// Whether it reaches anybody.
fn outside() -> String {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request.set_authority(Some("127.0.0.1:80")).expect("an authority");
    let reached = match outgoing_handler::handle(request, None) {
        Err(_) => false,
        Ok(response) => {
            response.subscribe().block();
            matches!(response.get(), Some(Ok(Ok(_))))
        }
    };
    format!("{{\"reached\": {reached}}}")
}
