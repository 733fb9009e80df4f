//! `ETag`, `If-None-Match`, `If-Match` (`platform-api.md` section 7).

use axum::{
    http::{HeaderValue, header},
    response::Response,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};

/// The tag of a body; weak, since compression changes the bytes and not the meaning.
pub(crate) fn tag(body: &[u8]) -> HeaderValue {
    let hash = URL_SAFE_NO_PAD.encode(&digest(&SHA256, body).as_ref()[..16]);
    HeaderValue::from_str(&format!("W/\"{hash}\"")).unwrap_or(HeaderValue::from_static("W/\"\""))
}

/// The tag of an answer to GET; `None` when that was no success.
pub(crate) async fn tag_of(response: Response) -> Option<HeaderValue> {
    if !response.status().is_success() {
        return None;
    }
    crate::contract::whole(response)
        .await
        .ok()
        .map(|(parts, bytes)| parts.headers.get(header::ETAG).cloned().unwrap_or_else(|| tag(&bytes)))
}

/// True when the list of tags that a client sent has this one. `*` is any.
pub(crate) fn matches(sent: &HeaderValue, current: Option<&HeaderValue>) -> bool {
    let Some(current) = current.and_then(|v| v.to_str().ok()) else { return false };
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_string();
    sent.to_str().is_ok_and(|list| list.split(',').any(|tag| tag.trim() == "*" || bare(tag) == bare(current)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_match_in_lists_weak_or_strong() {
        let own = tag(b"body");
        let text = own.to_str().expect("text").to_string();
        assert_ne!(own, tag(b"bodz"));
        for sent in [text.clone(), text.replace("W/", ""), format!("\"x\", {text}"), "*".into()] {
            assert!(matches(&HeaderValue::from_str(&sent).expect("header"), Some(&own)), "{sent}");
        }
        assert!(!matches(&HeaderValue::from_static("\"x\""), Some(&own)));
        assert!(!matches(&HeaderValue::from_static("*"), None), "nothing is there");
    }
}
