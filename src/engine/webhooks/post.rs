//! One request to a receiver. Blocking.

use crate::guard;
use std::{io, time::Duration};
use ureq::Error;

/// For name, connection, request and answer together.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// What is sent.
pub struct Post {
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    pub allow_private: bool,
}

/// How it went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Status of the answer.
    pub code: Option<u16>,
    /// Class of the error, if it failed.
    pub error: Option<String>,
    /// Seconds that the receiver asks to wait before the next try.
    pub pause_s: Option<u64>,
}

impl Sent {
    /// No answer came.
    pub fn failed(class: &str) -> Self {
        Self { error: Some(class.into()), ..Self::default() }
    }
}

/// Sends. Redirects are not followed: they fail.
pub fn send(post: Post) -> Sent {
    let mut request = guard::agent(post.allow_private, 0, TIME_LIMIT).post(&post.url);
    for (name, value) in post.headers {
        request = request.header(name, value);
    }
    let sent = request.config().http_status_as_error(false).max_redirects_will_error(false).build().send(post.body);
    match sent {
        Ok(answer) => {
            let code = answer.status().as_u16();
            // A date is not understood; clocks differ.
            let pause = answer.headers().get("retry-after").and_then(|v| v.to_str().ok()?.trim().parse().ok());
            let error = (!(200..300).contains(&code)).then(|| format!("http_{}xx", code / 100));
            Sent { code: Some(code), pause_s: pause.filter(|_| error.is_some()), error }
        }
        Err(e) => Sent::failed(class(&e)),
    }
}

fn class(error: &Error) -> &'static str {
    match error {
        Error::Timeout(_) => "timeout",
        Error::HostNotFound => "dns",
        Error::Tls(_) | Error::Rustls(_) => "tls",
        Error::Io(e) if e.kind() == io::ErrorKind::PermissionDenied => "blocked",
        Error::Io(e) if e.kind() == io::ErrorKind::InvalidData => "tls",
        _ => "connect",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_inside_are_blocked_in_every_spelling() {
        for url in [
            "http://127.0.0.1:1/",
            "http://localhost:1/",
            "http://[::1]:1/",
            "http://[::ffff:127.0.0.1]:1/",
            "http://169.254.169.254/latest",
            "http://0.0.0.0:1/",
        ] {
            let post = Post { url: url.into(), headers: Vec::new(), body: String::new(), allow_private: false };
            assert_eq!(send(post), Sent::failed("blocked"), "{url}");
        }
        let refused = Post { url: "http://127.0.0.1:1/".into(), headers: Vec::new(), body: String::new(), allow_private: true };
        assert_eq!(send(refused), Sent::failed("connect"));
    }
}
