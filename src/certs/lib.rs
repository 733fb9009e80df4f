//! Certificates: which one answers for a name, and how they come from an authority. Uploaded ones are checked by [`inspect`]
//! and chosen by [`serving`]; ordered ones come through [`acme`], with [`dns`] asked before and [`board`] shown meanwhile. For
//! all other names there is one of the platform's own authority ([`own`]).
//!
//! This room must not know the store, nor what is to be ordered when.

pub mod acme;
pub mod board;
pub mod dns;
pub mod inspect;
pub mod loopback;
pub mod own;
pub mod serving;
