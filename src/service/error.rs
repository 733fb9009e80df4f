//! Errors of the operations: a kind, a text for the user, a text for us that never leaves the process.

use store::StoreError;

/// Short for results of this room.
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of failure; mapped to HTTP in one file of `api`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody signed in, or with a wrong token.
    Unauthorized,
    /// Signed in, but not allowed.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// Clashes with the state of things.
    Conflict,
    /// The input does not pass.
    Invalid,
    /// Too much.
    Limited,
    /// Too often.
    Throttled,
    /// The platform can not do it just now.
    Unavailable,
    /// A bug.
    Internal,
}

/// A failed operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What sort.
    pub kind: Kind,
    /// Stable id, `snake_case` (`platform-api.md` section 5).
    pub id: &'static str,
    /// For the user: what happened, why, next step.
    pub public: String,
    /// Which resource was not found.
    pub resource: Option<&'static str>,
    /// Name of the app that a code is asked for.
    pub app: Option<Box<str>>,
    /// Seconds to wait before the next try.
    pub retry_after_s: Option<u32>,
    /// For our log only.
    pub private: Option<String>,
}

impl Error {
    fn new(kind: Kind, id: &'static str, public: impl Into<String>) -> Self {
        Self { kind, id, public: public.into(), resource: None, app: None, retry_after_s: None, private: None }
    }

    /// 422 `invalid_params`.
    pub fn invalid(public: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, "invalid_params", public)
    }

    /// 404 `not_found`.
    pub fn not_found(resource: &'static str, public: impl Into<String>) -> Self {
        Self { resource: Some(resource), ..Self::new(Kind::NotFound, "not_found", public) }
    }

    /// 409 `conflict`.
    pub fn conflict(public: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, "conflict", public)
    }

    /// 403 `forbidden`.
    pub fn forbidden(public: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, "forbidden", public)
    }

    /// 401 `unauthorized`.
    pub fn unauthorized() -> Self {
        Self::new(Kind::Unauthorized, "unauthorized", "Invalid credentials provided.")
    }

    /// 403 `two_factor`: asks for a code of the second factor (`platform-api.md` section 4.2).
    pub fn two_factor(public: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, "two_factor", public)
    }

    /// 429 `rate_limit`.
    pub fn throttled(public: impl Into<String>, retry_after_s: u32) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(Kind::Throttled, "rate_limit", public) }
    }

    /// 500 `internal_server_error`; `private` goes to the log.
    pub fn internal(private: impl Into<String>) -> Self {
        let public = "Something went wrong on our side; it was logged under the request id.";
        Self { private: Some(private.into()), ..Self::new(Kind::Internal, "internal_server_error", public) }
    }

    /// 413: past a limit with a name.
    pub fn limited(id: &'static str, public: impl Into<String>) -> Self {
        Self::new(Kind::Limited, id, public)
    }
}

impl From<StoreError> for Error {
    fn from(e: StoreError) -> Self {
        let private = Some(e.to_string());
        match e {
            StoreError::Full => Self {
                private,
                ..Self::new(
                    Kind::Unavailable,
                    "store_full",
                    "The disk of the platform is full; nothing was changed. Free space and try again.",
                )
            },
            StoreError::Unavailable(_) | StoreError::Closed | StoreError::Io { .. } => Self {
                private,
                ..Self::new(Kind::Unavailable, "service_unavailable", "The platform can not take changes just now; try again.")
            },
            StoreError::Corrupt(_) | StoreError::Newer { .. } | StoreError::InUse(_) => Self::internal(e.to_string()),
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.id, self.public)
    }
}

impl std::error::Error for Error {}
