//! Parts of a whole as an SVG: bars beside each other, with what is free.

use crate::text::{escaped, url_escaped};
use serde::Serialize;
use std::fmt::Write;

/// Width of the picture in its own units; it stretches with the page.
const WIDTH: f64 = 600.0;

/// One part of a whole.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// Name.
    pub name: String,
    /// Size in the unit of the whole.
    pub value: f64,
    /// As people read it.
    pub shown: String,
    /// Where it leads; empty for nowhere.
    #[serde(skip)]
    pub link: String,
}

impl Part {
    /// A part that is an app.
    pub fn app(name: &str, value: f64, shown: String) -> Self {
        Self { name: name.into(), value, shown, link: format!("/apps/{}", url_escaped(name)) }
    }
}

/// Parts of a whole beside each other, with what is left.
pub fn drawn(title: &str, parts: &[Part], whole: f64) -> String {
    let (mut x, mut svg, mut list) = (0.0, String::new(), String::new());
    for (index, part) in parts.iter().enumerate() {
        let (class, width) = (index % 4 + 1, (part.value / whole.max(1.0) * WIDTH).max(1.0));
        let name = escaped(&part.name);
        let _ = write!(
            svg,
            "<rect class=\"b c{class}\" x=\"{x:.1}\" width=\"{width:.1}\" height=\"24\"><title>{name}</title></rect>"
        );
        let link = if part.link.is_empty() { name } else { format!("<a href=\"{}\">{name}</a>", escaped(&part.link)) };
        let _ = write!(list, "<li class=\"c{class}\">{link} <b>{}</b></li>", escaped(&part.shown)); // text can not fail
        x += width;
    }
    let words: Vec<String> = parts.iter().map(|part| format!("{} {}", part.name, part.shown)).collect();
    format!(
        "<figure class=\"chart share\"><figcaption>{title}</figcaption><svg role=\"img\" aria-label=\"{title}: {}\" viewBox=\"0 0 \
         {WIDTH} 24\" preserveAspectRatio=\"none\"><rect class=\"free\" width=\"{WIDTH}\" height=\"24\"/>{svg}</svg><ul>{list}</ul></figure>",
        escaped(&words.join(", "))
    )
}
