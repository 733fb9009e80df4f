//! From source to slug: archives taken in safely, the buildpack contract, the slug format, the build cache.
//!
//! Every script of a buildpack runs inside a [`runtime::Runtime`] cage as an unprivileged user; this room itself only
//! moves files. It must not know releases, users or the store.

mod archive;
mod build;
mod cage;
mod copy;
mod heroku_yml;
mod images;
mod packs;
mod slug;
mod stacks;
mod tree;
mod yaml;

pub use archive::{ArchiveError, Limits as ArchiveLimits, Owner, read_file, unpack};
pub use build::{BuildError, BuildRequest, BuildResult, Builder};
pub use copy::{copy_tree, own_tree, tree_bytes};
pub use images::{CONTAINER, app_of_image};
pub use slug::{PackedSlug, SlugError, file_checksum, pack, unpack_slug};
pub use stacks::{Imported, StackError, Stacks};
pub use tree::remove_tree;
