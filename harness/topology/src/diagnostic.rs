//! What is wrong with a file: where, what, and what would be right. Printed the way rustc prints its errors.

use std::{borrow::Cow, fmt, ops::Range, sync::Arc};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use crate::spanned::Position;

/// So many are printed in full; more help nobody.
const PRINTED: usize = 50;

/// Lines longer than this are not quoted.
const LONGEST_LINE: usize = 4096;

/// One thing that is wrong with a file.
///
/// `Display` prints it without colour, over several lines:
///
/// ```text
/// error: unknown key `gatway`
///  --> topologies/a.yaml:5:31
///   |
/// 5 |   a: {cidr: 10.0.0.0/24, gatway: 10.0.0.1}
///   |                          ^^^^^^
///   |
///   = help: did you mean `gateway`?
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file as the user named it.
    pub file: String,
    /// Where in it; none if it is about the file as a whole.
    pub position: Option<Position>,
    /// What is wrong, in one line.
    pub message: String,
    /// What would be right, in one line.
    pub help: Option<String>,
    /// Other places that have to do with it.
    pub related: Vec<Related>,
    #[serde(skip)]
    text: Text,
}

/// Another place in the same file that has to do with a [`Diagnostic`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// Where.
    pub position: Position,
    /// What is there: "first used here".
    pub label: String,
}

/// The file's text, for quoting; empty if there is none. Left out of `Debug`, being up to a megabyte.
#[derive(Clone, PartialEq, Eq, Default)]
struct Text(Arc<str>);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Diagnostic {
    /// One about a file as a whole.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            position: None,
            message: printable(message.into()),
            help: None,
            related: Vec::new(),
            text: Text::default(),
        }
    }

    pub(crate) fn new(file: &str, text: &Arc<str>, at: Position, message: impl Into<String>) -> Self {
        Self { position: Some(at), text: Text(text.clone()), ..Self::of_file(file, message) }
    }

    /// Adds what would be right.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(printable(help.into()));
        self
    }

    /// Adds another place that has to do with it, and what is there.
    pub fn related(&mut self, position: Position, label: impl Into<String>) -> &mut Self {
        self.related.push(Related { position, label: printable(label.into()) });
        self
    }

    /// The line, from 1, if it is about a place.
    pub fn line(&self) -> Option<u32> {
        self.position.map(|at| at.line)
    }

    /// The column in characters, from 1, if it is about a place.
    pub fn column(&self) -> Option<u32> {
        self.position.map(|at| at.column)
    }

    /// As a terminal shows it, with colours or without; no line end after it.
    pub fn render(&self, colour: bool) -> String {
        let file = printable(self.file.clone());
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let title = Level::ERROR.primary_title(self.message.as_str());
        let excerpt = self.excerpt();
        let group = match &excerpt {
            Some(excerpt) => title.element(excerpt.snippet(self, &file)),
            None => title.element(self.origin(&file)),
        };
        let group = match &self.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        };
        let report: [Group<'_>; 1] = [group];
        renderer.render(&report)
    }

    fn origin<'a>(&self, file: &'a str) -> Origin<'a> {
        let origin = Origin::path(file);
        match self.position {
            Some(at) => origin.line(at.line as usize).char_column(at.column as usize),
            None => origin,
        }
    }

    fn excerpt(&self) -> Option<Excerpt<'_>> {
        let position = self.position?;
        let places = || std::iter::once(position).chain(self.related.iter().map(|related| related.position));
        let first = places().map(|at| at.line).min()?;
        let last = places().map(|at| at.line).max()?;
        Excerpt::cut(&self.text.0, first, last)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostic {}

/// The lines of a file that a diagnostic quotes from.
struct Excerpt<'a> {
    text: Cow<'a, str>,
    first_line: u32,
}

impl<'a> Excerpt<'a> {
    fn cut(text: &'a str, first: u32, last: u32) -> Option<Self> {
        let start = line_start(text, first)?;
        let last_start = start + line_start(&text[start..], last - first + 1)?;
        let end = text[last_start..].find('\n').map_or(text.len(), |length| last_start + length);
        let cut = &text[start..end];
        let fits = !cut.trim().is_empty() && cut.lines().all(|line| line.len() <= LONGEST_LINE);
        // The renderer shows the control characters of ASCII, not those beyond: U+009B would reach the terminal.
        let text = match cut.contains(beyond_ascii) {
            true => Cow::Owned(cut.replace(beyond_ascii, "\u{fffd}")),
            false => Cow::Borrowed(cut),
        };
        fits.then_some(Self { text, first_line: first })
    }

    fn snippet<'s>(&'s self, about: &'s Diagnostic, file: &'s str) -> Snippet<'s, annotate_snippets::Annotation<'s>> {
        let primary = about.position.map(|at| AnnotationKind::Primary.span(self.range(at)));
        let related = about
            .related
            .iter()
            .map(|other| AnnotationKind::Context.span(self.range(other.position)).label(other.label.as_str()));
        Snippet::source(&*self.text)
            .line_start(self.first_line as usize)
            .path(file)
            .annotations(primary.into_iter().chain(related))
    }

    /// Bytes in the excerpt; at most to the end of the line, at least one character where there is one.
    fn range(&self, at: Position) -> Range<usize> {
        let start = line_start(&self.text, at.line - self.first_line + 1).unwrap_or(self.text.len());
        let line = self.text[start..].split('\n').next().unwrap_or_default().trim_end();
        let byte = |characters: usize| {
            line.char_indices().nth(characters).map_or(start + line.len(), |(offset, _)| start + offset)
        };
        let from = at.column.saturating_sub(1) as usize;
        byte(from)..byte(from.saturating_add((at.length as usize).max(1)))
    }
}

fn beyond_ascii(c: char) -> bool {
    c.is_control() && !c.is_ascii()
}

/// Control characters made visible: names that users choose get into messages.
fn printable(text: String) -> String {
    match text.contains(char::is_control) {
        true => crate::source::escaped(&text).collect(),
        false => text,
    }
}

/// Byte offset of a line, counted from 1.
fn line_start(text: &str, line: u32) -> Option<usize> {
    match line {
        0 => None,
        1 => Some(0),
        _ => text.match_indices('\n').nth(line as usize - 2).map(|(offset, _)| offset + 1),
    }
}

/// All that is wrong with a file: at least one thing, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Sorts them by place. None if there are none.
    pub fn from_list(mut list: Vec<Diagnostic>) -> Option<Self> {
        list.sort_by_key(|diagnostic| diagnostic.position);
        (!list.is_empty()).then_some(Self { list })
    }

    /// Each, in the file's order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// The first.
    pub fn first(&self) -> &Diagnostic {
        &self.list[0]
    }

    /// How many; never 0.
    #[allow(clippy::len_without_is_empty)] // It never is.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// As a terminal shows them, with an empty line between two; no line end after the last.
    pub fn render(&self, colour: bool) -> String {
        let mut printed: Vec<String> =
            self.list.iter().take(PRINTED).map(|diagnostic| diagnostic.render(colour)).collect();
        if self.list.len() > PRINTED {
            printed.push(format!("and {} more mistakes", self.list.len() - PRINTED));
        }
        printed.join("\n\n")
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(only: Diagnostic) -> Self {
        Self { list: vec![only] }
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}
