//! What happened to a request, as numbers: for metrics, beside the line that people read.

use crate::Code;
use domain::AppId;
use std::time::Duration;

/// One request that has ended, or was answered by the router itself.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// App that the host belongs to.
    pub app: AppId,
    /// H-code, when something went wrong.
    pub code: Option<Code>,
    /// As in the line: what the client got, or 499 and the like where nothing was sent. Zero when nothing is known.
    pub status: u16,
    /// Body bytes to the client.
    pub bytes: u64,
    /// Time to connect; zero on a kept connection, `None` when no dyno was reached.
    pub connect: Option<Duration>,
    /// From the connection to the last byte; `None` when no dyno was reached.
    pub service: Option<Duration>,
}

/// Takes records. Called once for each request with an app, on the router's own threads: it must neither wait nor take a
/// lock that anybody holds for long.
pub trait Observer: Send + Sync {
    /// A request has ended.
    fn request(&self, record: &Record);
}
