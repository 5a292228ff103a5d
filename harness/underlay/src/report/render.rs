//! A report in each form that it can be written in, also long after its run, from its JSON.

use std::io;

use serde_json::Value;

use super::schema::{Report, SCHEMA, SCHEMA_FAMILY};
use super::{html, junit, markdown};

/// Why a text is no report that can be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It isn't JSON.
    #[error("not JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// It is JSON, but nothing says that it is a report.
    #[error("not a report: it has no key `schema` that begins with `underlay.report/`")]
    NoReport,
    /// It is another version's.
    #[error("a report of the schema `{found}`, and this program reads `{SCHEMA}`")]
    Version {
        /// What it says it is.
        found: String,
    },
    /// It says it is one, and isn't.
    #[error("not a report of the schema `{SCHEMA}`: {0}")]
    Shape(#[source] serde_json::Error),
}

/// Reads a report.
///
/// # Errors
/// It is none, or another version's.
pub fn read(text: &str) -> Result<Report, Unreadable> {
    let value: Value = serde_json::from_str(text).map_err(Unreadable::Json)?;
    match value.get("schema").and_then(Value::as_str) {
        Some(SCHEMA) => serde_json::from_value(value).map_err(Unreadable::Shape),
        Some(found) if found.starts_with(SCHEMA_FAMILY) => Err(Unreadable::Version { found: found.to_owned() }),
        _ => Err(Unreadable::NoReport),
    }
}

/// A form of a report for machines and other places than a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The document itself.
    Json,
    /// JUnit XML.
    Junit,
    /// Markdown.
    Markdown,
    /// A page.
    Html,
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 4] = [Self::Json, Self::Junit, Self::Markdown, Self::Html];

    /// Its file's name in a folder of reports.
    pub fn file(self) -> &'static str {
        match self {
            Self::Json => "report.json",
            Self::Junit => "junit.xml",
            Self::Markdown => "summary.md",
            Self::Html => "report.html",
        }
    }

    /// The report in this form.
    ///
    /// # Errors
    /// A writer of JSON or XML refuses.
    pub fn render(self, report: &Report) -> io::Result<String> {
        Ok(match self {
            Self::Json => serde_json::to_string_pretty(report)? + "\n",
            Self::Junit => junit::render(report)?,
            Self::Markdown => markdown::render(report, markdown::LIMIT),
            Self::Html => html::render(report),
        })
    }
}
