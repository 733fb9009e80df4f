//! Lines on disk. A folder per app holds a head and segments.
//!
//! The **head** takes every batch as it comes, as a plain record, so that a `kill -9` loses nothing that was taken. When it
//! is large enough its records are compressed into one **frame**, the frame is appended to the newest **segment**, and the
//! head begins anew. Both are only appended to; what a stop cut short is cut off at the next open, what is damaged in the
//! middle is stepped over and told. Old segments are deleted whole.

mod batch;
mod files;
mod frame;
mod legacy;
mod read;
mod writer;

pub(crate) use batch::Batch;
pub(crate) use files::Files;
pub(crate) use frame::Positions;
pub(crate) use read::Budget;
pub use read::Found;
pub use writer::Limits;
pub(crate) use writer::{Disk, Feed};
