//! Bodies in and out.

use crate::error::{Failure, bad_request};
use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use service::Error;

/// A JSON object in a request. An empty body counts as `{}`, whatever its type says (`platform-api.md` section 2).
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|_| Failure(Error::limited("body_too_large", "The request body is too large; the limit is 1 MiB.")))?;
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|e| bad_request(format!("The request body is no valid JSON: {e}.")))?;
        if !value.is_object() {
            return Err(bad_request("The request body must be a JSON object."));
        }
        let parsed = serde_json::from_value(value).map_err(|e| Failure(Error::invalid(format!("Invalid parameters: {e}."))))?;
        Ok(Self(parsed))
    }
}

/// A JSON answer with a status.
pub struct Answer<T>(pub StatusCode, pub T);

/// 200.
pub fn ok<T>(value: T) -> Result<Answer<T>, Failure> {
    Ok(Answer(StatusCode::OK, value))
}

/// 201.
pub fn created<T>(value: T) -> Result<Answer<T>, Failure> {
    Ok(Answer(StatusCode::CREATED, value))
}

/// 202.
pub fn accepted<T>(value: T) -> Result<Answer<T>, Failure> {
    Ok(Answer(StatusCode::ACCEPTED, value))
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.1) {
            Ok(json) => (self.0, [(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Err(e) => Failure(Error::internal(e.to_string())).into_response(),
        }
    }
}
