//! What an authority asks for on its way to a certificate; answered before everything else, also in maintenance and for apps
//! that sleep (`acm.md` section 5). A token that is not ours goes on to the app, which may have a client of its own.

use crate::proxy::{Body, BoxError};
use bytes::Bytes;
use domain::acm::Challenges;
use http::{Method, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use std::sync::{Arc, OnceLock};

const FOLDER: &str = "/.well-known/acme-challenge/";

/// Who knows the answers, once that is known.
#[derive(Default)]
pub struct Answers(OnceLock<Arc<dyn Challenges>>);

impl Answers {
    /// From now on `challenges` is asked. Only the first one counts.
    pub fn set(&self, challenges: Arc<dyn Challenges>) {
        let _ = self.0.set(challenges); // there is one board for the life of the program
    }

    /// The answer to a request for `host`; `None` when it is not ours to answer.
    pub fn answer<T>(&self, request: &Request<T>, host: &str) -> Option<Response<Body>> {
        let token = request.uri().path().strip_prefix(FOLDER)?;
        let is_head = request.method() == Method::HEAD;
        if !is_head && request.method() != Method::GET {
            return None;
        }
        let file = self.0.get()?.file(host, token)?;
        let bytes = if is_head { Bytes::new() } else { Bytes::from(file) };
        let mut response = Response::new(Full::new(bytes).map_err(|never| -> BoxError { match never {} }).boxed_unsync());
        response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
        Some(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One;

    impl Challenges for One {
        fn file(&self, host: &str, token: &str) -> Option<String> {
            (host == "a.example.com" && token == "tok").then(|| "tok.print".into())
        }
    }

    #[test]
    fn known_tokens_of_their_host_are_answered_and_nothing_else() {
        let answers = Answers::default();
        let request = |method: &str, path: &str| Request::builder().method(method).uri(path).body(()).unwrap();
        let known = "/.well-known/acme-challenge/tok";
        assert!(answers.answer(&request("GET", known), "a.example.com").is_none(), "nobody knows yet");
        answers.set(Arc::new(One));
        for method in ["GET", "HEAD"] {
            assert_eq!(answers.answer(&request(method, known), "a.example.com").unwrap().status(), 200);
        }
        assert!(answers.answer(&request("POST", known), "a.example.com").is_none());
        assert!(answers.answer(&request("GET", known), "b.example.com").is_none());
        assert!(answers.answer(&request("GET", "/.well-known/acme-challenge/other"), "a.example.com").is_none());
        assert!(answers.answer(&request("GET", "/tok"), "a.example.com").is_none());
    }
}
