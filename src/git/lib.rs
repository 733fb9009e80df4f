//! The git receiver: smart HTTP and SSH in front of real `git`, and the pre-receive hook that turns a push into a build
//! (`git-contract.md`). This room must not know the engine: it asks `service` for a build and reads its output.
//!
//! ```text
//! client -> HTTP or SSH -> git receive-pack (quarantine) -> pre-receive hook -> unix socket -> build -> output back the same way
//! ```
//! Nothing a user typed reaches a shell: git gets an argv, and the repository is named by the app's id.

mod admission;
mod hook;
mod http;
mod pkt;
mod push;
mod receive;
mod repository;
mod ssh;

pub use hook::main as hook_main;
pub use http::router;
pub use push::{Limits, Receiver};
pub use ssh::SshServer;
