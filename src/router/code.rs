//! H-codes and the pages of answers that the router makes itself (`router.md` sections 10 and 12).

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
};

/// Why the router answered, or cut, by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// All web dynos crashed.
    H10,
    /// No answer in 30 s.
    H12,
    /// Closed without a byte.
    H13,
    /// No web process wanted.
    H14,
    /// Silent for 55 s.
    H15,
    /// No valid HTTP.
    H17,
    /// Cut while the request or answer was under way.
    H18,
    /// No connection in 5 s.
    H19,
    /// Still starting after 75 s.
    H20,
    /// Connection refused.
    H21,
    /// The request itself is wrong.
    H26,
    /// The client went away.
    H27,
    /// The client was silent for 55 s.
    H28,
    /// Maintenance mode.
    H80,
    /// Nothing deployed.
    H81,
    /// A fault of ours.
    H99,
}

impl Code {
    /// Name, description, `at`, `sock`, status for the log.
    fn row(self) -> (&'static str, &'static str, &'static str, Option<&'static str>, u16) {
        match self {
            Self::H10 => ("H10", "App crashed", "error", None, 503),
            Self::H12 => ("H12", "Request timeout", "error", None, 503),
            Self::H13 => ("H13", "Connection closed without response", "error", None, 503),
            Self::H14 => ("H14", "No web processes running", "error", None, 503),
            Self::H15 => ("H15", "Idle connection", "error", None, 503),
            Self::H17 => ("H17", "Poorly formatted HTTP response", "error", None, 503),
            Self::H18 => ("H18", "Server Request Interrupted", "error", Some("backend"), 503),
            Self::H19 => ("H19", "Backend connection timeout", "error", None, 503),
            Self::H20 => ("H20", "App boot timeout", "error", None, 503),
            Self::H21 => ("H21", "Backend connection refused", "error", None, 503),
            Self::H26 => ("H26", "Request Error", "error", None, 400),
            Self::H27 => ("H27", "Client Request Interrupted", "warning", Some("client"), 499),
            Self::H28 => ("H28", "Client Connection Idle", "warning", None, 499),
            Self::H80 => ("H80", "Maintenance mode", "info", None, 503),
            Self::H81 => ("H81", "Blank app", "info", None, 502),
            Self::H99 => ("H99", "Platform error", "error", None, 503),
        }
    }

    /// `H12`.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// As in the table.
    pub fn description(self) -> &'static str {
        self.row().1
    }

    /// `error`, `warning` or `info`.
    pub fn at(self) -> &'static str {
        self.row().2
    }

    /// `client` or `backend`, when the line says it.
    pub fn sock(self) -> Option<&'static str> {
        self.row().3
    }

    /// Status in the log line, and of the page where there is one.
    pub fn status(self) -> u16 {
        self.row().4
    }
}

fn page(title: &str, text: &str, code: &str) -> Bytes {
    Bytes::from(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>body{{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem;\
         color-scheme:light dark}}code{{opacity:.7}}</style><h1>{title}</h1><p>{text}</p><p><code>{code}</code></p></html>\n"
    ))
}

fn html(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let length = body.len();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// The page for visitors.
pub fn error_page(code: Code) -> Response<Bytes> {
    let (title, text) = match code {
        Code::H80 => ("Down for maintenance", "This app is being worked on. Please come back in a few minutes."),
        Code::H81 => ("Nothing here yet", "This app has no code yet. Push some with <code>git push</code>."),
        Code::H26 => ("Bad request", "The request could not be understood."),
        _ => ("Application error", "The app did not answer. If you own it, its log tells why: <code>tidemill logs -t</code>."),
    };
    let status =
        StatusCode::from_u16(code.status()).ok().filter(|s| s.as_u16() != 499).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    html(status, page(title, text, code.name()))
}

/// The page for a host that belongs to no app.
pub fn no_such_app() -> Response<Bytes> {
    html(StatusCode::NOT_FOUND, page("No such app", "There is no app at this address.", "not_found"))
}

/// A request that is refused before any app is known.
pub fn bad_request(why: &str) -> Response<Bytes> {
    html(StatusCode::BAD_REQUEST, page("Bad request", why, "bad_request"))
}
