//! Failures with their exit codes: 1 failed, 2 usage, 3 not allowed, 4 no such thing, 5 conflict, 6 unreachable.

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    /// For people.
    pub text: String,
    /// Exit code.
    pub exit: u8,
}

/// Short for results of this room.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// The thing itself failed.
    pub fn failed(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: 1 }
    }

    /// Wrong usage or input.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: 2 }
    }

    /// The server can not be reached.
    pub fn unreachable(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: 6 }
    }

    /// A remote command's own end, about which there is nothing to say.
    pub fn silent(exit: u8) -> Self {
        Self { text: String::new(), exit }
    }

    /// From an error answer.
    pub fn from_status(status: u16, body: &str) -> Self {
        let parsed: Option<wire::ErrorBody> = serde_json::from_str(body).ok();
        let exit = match status {
            401 | 403 => 3,
            404 | 410 => 4,
            409 | 412 | 423 => 5,
            400 | 406 | 413 | 416 | 422 => 2,
            429 | 502..=504 => 6,
            _ => 1,
        };
        let text = match parsed {
            Some(body) => format!("{}\n !    Error ID: {}", body.message, body.id),
            None => format!("The server answered with status {status}."),
        };
        let text = if status == 401 { format!("{text}\n !    Sign in with: tidemill login URL") } else { text };
        Self { text, exit }
    }
}
