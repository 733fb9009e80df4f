//! The data plane: listeners, HTTP, dyno choice, H-codes. Fed by snapshots only ([`Table`]); no lock and no store on the
//! request path. This room must not know how dynos are run or where apps are stored.
//!
//! ```text
//! accept -> parse -> host to route -> claim a dyno (choose and count in one step) -> forward -> stream back -> one line
//! ```

mod access_log;
mod challenge;
mod code;
mod hang_up;
mod headers;
mod listener;
mod probe;
mod proxy;
#[cfg(test)]
mod proxy_tests;
mod secure;
mod table;
mod traffic;
mod upstream;

pub use code::Code;
pub use hang_up::HangUp;
pub use listener::{Caller, Doors, Listener, Meet, Pass, Shutdown, Stream};
pub use probe::probe;
pub use proxy::{Body, BoxError, Client, Control, ControlFuture, Router};
pub use table::{AppRoute, Backend, Claim, Table};
pub use traffic::Traffic;
