//! Who may pass, and with what: the bridge's key in any form that clients use (`platform-api.md` section 4) becomes the real
//! token in the same form.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use ring::{
    digest::{Digest, SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};

/// Bytes of randomness in a key.
const KEY_BYTES: usize = 32;
/// Addresses that carry a secret of their own, which the server gave out for them.
const SECRET_PATHS: &[&str] = &["/streams/", "/sources/"];
/// What the CLI asks for without any credential: the buildpack registry and the state of the platform.
const OPEN_PATHS: &[&str] = &["/buildpacks", "/api/v4/"];

/// The key and what it stands for.
pub(crate) struct Gate {
    /// Digest: comparing digests tells nothing by the time that it takes.
    key: Digest,
    token: String,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// It goes on with this header in place of its own, or with none.
    With(Option<HeaderValue>),
    /// It does not.
    Refused,
}

/// A new key.
pub(crate) fn random_key() -> Result<String, String> {
    let mut bytes = [0u8; KEY_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system has no randomness".to_string())?;
    Ok(bytes.iter().fold(String::from("bridge-"), |text, byte| text + &format!("{byte:02x}")))
}

impl Gate {
    pub(crate) fn new(key: &str, token: String) -> Self {
        Self { key: digest(&SHA256, key.as_bytes()), token }
    }

    /// Decides on a request.
    pub(crate) fn pass(&self, path: &str, headers: &HeaderMap) -> Pass {
        if SECRET_PATHS.iter().any(|start| path.starts_with(start)) {
            return Pass::With(None); // a key that came along is not for them
        }
        let Some(shown) = headers.get(AUTHORIZATION) else {
            let open = OPEN_PATHS.iter().any(|start| path.starts_with(start));
            return if open { Pass::With(None) } else { Pass::Refused };
        };
        match shown.to_str().ok().and_then(|shown| self.swapped(shown)) {
            Some(header) => Pass::With(Some(header)),
            None => Pass::Refused,
        }
    }

    fn swapped(&self, shown: &str) -> Option<HeaderValue> {
        let (scheme, value) = shown.split_once(' ')?;
        let value = value.trim();
        let text = if scheme.eq_ignore_ascii_case("bearer") {
            self.is_key(value).then(|| format!("Bearer {}", self.token))?
        } else if scheme.eq_ignore_ascii_case("basic") {
            let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
            let (user, password) = text.split_once(':')?;
            self.is_key(password).then(|| format!("Basic {}", STANDARD.encode(format!("{user}:{}", self.token))))?
        } else {
            return None;
        };
        let mut header = HeaderValue::try_from(text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    fn is_key(&self, shown: &str) -> bool {
        digest(&SHA256, shown.as_bytes()).as_ref() == self.key.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str, authorization: Option<&str>) -> Pass {
        let mut headers = HeaderMap::new();
        if let Some(text) = authorization {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(text).expect("header"));
        }
        Gate::new("key", "token".into()).pass(path, &headers)
    }

    #[test]
    fn only_the_key_opens_and_the_token_takes_its_place_in_the_same_form() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let with = |text: &str| Pass::With(Some(HeaderValue::from_str(text).expect("header")));
        assert_eq!(shown("/apps", Some("Bearer key")), with("Bearer token"));
        assert_eq!(shown("/apps", Some("bearer  key ")), with("Bearer token"));
        for user in ["", "heroku", "a@b.example"] {
            assert_eq!(shown("/a.git/info/refs", Some(&basic(&format!("{user}:key")))), with(&basic(&format!("{user}:token"))));
        }
        let wrong =
            ["Bearer token", "Bearer keys", "Bearer ", "Bearer", "Digest key", "Basic key", &basic("key"), &basic("key:")];
        for wrong in wrong {
            assert_eq!(shown("/apps", Some(wrong)), Pass::Refused, "{wrong}");
            assert_eq!(shown("/buildpacks", Some(wrong)), Pass::Refused, "{wrong}");
        }
        assert_eq!(shown("/apps", None), Pass::Refused);
        assert_eq!(shown("/buildpacks/a%2Fb", None), Pass::With(None));
        assert_eq!(shown("/streams/logs/x", Some("Bearer key")), Pass::With(None));
    }
}
