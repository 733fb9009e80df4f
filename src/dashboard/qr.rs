//! A QR code as the path of an SVG.

use qrcodegen::{QrCode, QrCodeEcc};
use std::fmt::Write;

/// White margin that readers want.
const MARGIN: i32 = 4;

/// One square after the other.
pub struct Code {
    /// Width and height with the margin.
    pub size: i32,
    /// The `d` of a path.
    pub path: String,
}

impl Code {
    /// Draws `text`; `None` when it is too long.
    pub fn of(text: &str) -> Option<Self> {
        let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
        let mut path = String::new();
        for y in 0..code.size() {
            for x in (0..code.size()).filter(|x| code.get_module(*x, y)) {
                let _ = write!(path, "M{} {}h1v1h-1z", x + MARGIN, y + MARGIN); // text can not fail
            }
        }
        Some(Self { size: code.size() + 2 * MARGIN, path })
    }
}
