//! Certificates: which one answers for a name. Uploaded ones are checked by [`inspect`] and chosen by [`serving`]; for all
//! other names there is one of the platform's own authority ([`own`]). None are ordered from an authority yet.
//!
//! This room must not know sockets or the store; it gets names and gives answers.

pub mod inspect;
pub mod loopback;
pub mod own;
pub mod serving;
