//! What is inside a frame and inside a value.

use crate::StoreError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A change of one row: `None` removes it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// One transaction as the journal keeps it. Its events are rows of the event table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts from 1 without a gap.
    pub seq: u64,
    /// Rows, last change of each.
    pub changes: Vec<Change>,
}

/// Encodes for a frame.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_stdvec(value).map_err(|e| StoreError::Corrupt(format!("encode: {e}")))
}

/// Decodes what a frame held.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|e| StoreError::Corrupt(format!("decode: {e}")))
}

/// A stored value: version (u16 little-endian), then JSON. JSON lets a reader of the next version add fields with
/// defaults; a change that is more than that raises the version and adds a reader.
pub fn encode_value<T: Serialize>(version: u16, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut out = version.to_le_bytes().to_vec();
    serde_json::to_writer(&mut out, value).map_err(|e| StoreError::Corrupt(format!("encode value: {e}")))?;
    Ok(out)
}

/// Splits a stored value into version and body.
pub fn split_value(bytes: &[u8]) -> Result<(u16, &[u8]), StoreError> {
    let (version, body) =
        bytes.split_first_chunk::<2>().ok_or_else(|| StoreError::Corrupt("value without a version".into()))?;
    Ok((u16::from_le_bytes(*version), body))
}

/// The reader of a version 1 value.
pub fn json<T: DeserializeOwned>(table: &str, body: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(body).map_err(|e| StoreError::Corrupt(format!("{table}: {e}")))
}
