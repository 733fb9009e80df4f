//! Typed tables over one ordered key space.

use crate::{StoreError, codec};
use domain::{AccountId, AppId, BuildId, DynoId, KeyId, ReleaseId, ScheduleId, SlugId, TeamId};
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;
use uuid::Uuid;

/// Something that is part of a key. Encodings sort like the values do.
pub trait Key {
    /// Appends the bytes.
    fn encode(&self, out: &mut Vec<u8>);
}

macro_rules! id_key {
    ($($id:ty),*) => {$(
        impl Key for $id {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_bytes());
            }
        }
    )*};
}
id_key!(AccountId, AppId, BuildId, DynoId, KeyId, ReleaseId, ScheduleId, SlugId, TeamId, Uuid);

impl Key for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

impl Key for u32 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

/// Only as the last part of a key, since it has no end mark.
impl Key for str {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl Key for String {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_str().encode(out);
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
    }
}

/// The empty prefix: every row of a table.
impl Key for () {
    fn encode(&self, _out: &mut Vec<u8>) {}
}

/// Reads values of old versions; gets version and body.
pub type Reader<V> = fn(u16, &[u8]) -> Result<V, StoreError>;

/// A table: its number in the key space, its name, the version it writes and the readers of all versions.
pub struct Table<K: ?Sized, V> {
    pub(crate) prefix: u8,
    pub(crate) name: &'static str,
    pub(crate) version: u16,
    pub(crate) reader: Reader<V>,
    key: PhantomData<fn(&K)>,
}

impl<K: Key + ?Sized, V: Serialize + DeserializeOwned> Table<K, V> {
    /// A table. Numbers are never used twice.
    pub const fn new(prefix: u8, name: &'static str, version: u16, reader: Reader<V>) -> Self {
        Self { prefix, name, version, reader, key: PhantomData }
    }

    /// The table's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn key_bytes<P: Key + ?Sized>(&self, key: &P) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        out.push(self.prefix);
        key.encode(&mut out);
        out
    }

    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<V, StoreError> {
        let (version, body) = codec::split_value(bytes)?;
        if version > self.version {
            return Err(StoreError::Newer { found: u32::from(version), known: u32::from(self.version) });
        }
        (self.reader)(version, body)
    }
}
