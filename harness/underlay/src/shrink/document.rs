//! A YAML text of which parts can be left out. What stays is as it was written, comments included.
//!
//! A part is a map's entry or a list's item, with all below it and the comments directly above it. A text is never
//! written anew from values: what is left out is cut out, so a text that somebody wrote by hand stays theirs.

use std::collections::BTreeSet;
use std::ops::Range;

use granit_parser::{Event, Parser, Span, StructureStyle};

/// A part's number, in the text's order: a part's own parts follow it.
pub type PartId = usize;

/// A text and its parts.
#[derive(Debug, Clone)]
pub struct Document {
    text: String,
    root: Value,
    parts: Vec<Part>,
}

/// A map's entry or a list's item.
#[derive(Debug, Clone)]
struct Part {
    parent: Option<PartId>,
    depth: usize,
    /// Its key; of a list's item, its number in brackets.
    name: String,
    /// What goes when it goes; in a flow collection (`{…}`, `[…]`) without the comma.
    region: Range<usize>,
    /// Its key; of a list's item, its dash. Of a flow list's item nothing.
    head: Range<usize>,
    value: Value,
}

/// What a part holds.
#[derive(Debug, Clone)]
enum Value {
    Leaf,
    Block(Collection),
    Flow(Collection, Range<usize>),
}

#[derive(Debug, Clone)]
struct Collection {
    is_map: bool,
    parts: Vec<PartId>,
}

impl Collection {
    fn empty(&self) -> &'static str {
        if self.is_map { "{}" } else { "[]" }
    }
}

impl Value {
    fn parts(&self) -> &[PartId] {
        match self {
            Self::Leaf => &[],
            Self::Block(collection) | Self::Flow(collection, _) => &collection.parts,
        }
    }
}

/// A text without some parts.
#[derive(Debug, Clone, Default)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Where its pieces come from: first byte here, first byte there, length.
    pieces: Vec<(usize, usize, usize)>,
}

impl Rendered {
    fn copy(&mut self, document: &Document, range: Range<usize>) {
        self.pieces.push((self.text.len(), range.start, range.len()));
        self.text.push_str(&document.text[range]);
    }

    /// Where a place of this text, line and column from 1, stood in the document.
    fn origin(&self, line: u32, column: u32) -> Option<usize> {
        let start: usize = self.text.split_inclusive('\n').take(line.checked_sub(1)? as usize).map(str::len).sum();
        let within = self.text[start..].char_indices().nth(column.checked_sub(1)? as usize);
        let at = within.map_or(self.text.len(), |(offset, _)| start + offset);
        let piece = self.pieces.iter().rev().find(|(here, _, length)| (*here..here + length).contains(&at))?;
        Some(piece.1 + (at - piece.0))
    }
}

impl Document {
    /// Reads a text that is a map in YAML. None of any other, or if it isn't YAML.
    pub fn parse(text: &str) -> Option<Self> {
        let mut events = Parser::new_from_str(text).filter(|event| !matches!(event, Ok((Event::Comment(..), _))));
        let root = loop {
            let (event, span) = events.next()?.ok()?;
            if matches!(event, Event::MappingStart(..)) {
                break node(&event, span, &mut events)?;
            }
            if !matches!(event, Event::StreamStart | Event::DocumentStart(..)) {
                return None;
            }
        };
        let mut document = Self { text: text.to_owned(), root: Value::Leaf, parts: Vec::new() };
        document.root = document.assemble(&root, None, 0, text.len());
        Some(document)
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All parts of a depth: 0 for the entries of the whole.
    pub fn at_depth(&self, depth: usize) -> impl Iterator<Item = PartId> {
        self.parts.iter().enumerate().filter(move |(_, part)| part.depth == depth).map(|(id, _)| id)
    }

    /// The part of that path: `["variants", "enp0s6"]`.
    pub fn find(&self, path: &[&str]) -> Option<PartId> {
        let (last, above) = path.split_last()?;
        let siblings = match above {
            [] => self.root.parts(),
            above => self.parts[self.find(above)?].value.parts(),
        };
        siblings.iter().copied().find(|id| self.parts[*id].name == *last)
    }

    /// The parts of a part, in order.
    pub fn parts_of(&self, id: PartId) -> &[PartId] {
        self.parts[id].value.parts()
    }

    /// Its name: the key, or `[2]` of a list.
    pub fn name(&self, id: PartId) -> &str {
        &self.parts[id].name
    }

    /// The names on the way to it, its own last.
    pub fn path(&self, id: PartId) -> Vec<&str> {
        let part = &self.parts[id];
        let mut path = part.parent.map_or_else(Vec::new, |parent| self.path(parent));
        path.push(&part.name);
        path
    }

    /// The whole's depth: no part is deeper than that.
    pub fn depth(&self) -> usize {
        self.parts.iter().map(|part| part.depth + 1).max().unwrap_or(0)
    }

    /// Whether a part, or one that it belongs to, is among those.
    pub fn is_gone(&self, id: PartId, removed: &BTreeSet<PartId>) -> bool {
        removed.contains(&id) || self.parts[id].parent.is_some_and(|parent| self.is_gone(parent, removed))
    }

    /// The text of a scalar value, or of a whole collection, as it is written.
    pub fn value_range(&self, id: PartId) -> Range<usize> {
        let part = &self.parts[id];
        let after_key = self.text[part.head.end..part.region.end]
            .find(':')
            .map_or(part.head.end, |colon| part.head.end + colon + 1);
        after_key..part.region.end
    }

    /// The innermost part at a place of a text that was [rendered](Self::without) from this.
    pub fn part_at(&self, rendered: &Rendered, line: u32, column: u32) -> Option<PartId> {
        let origin = rendered.origin(line, column)?;
        // Parts' own parts follow them, so the last that holds the place is the innermost.
        self.parts.iter().rposition(|part| part.region.contains(&origin))
    }

    /// The text without some parts.
    pub fn without(&self, removed: &BTreeSet<PartId>) -> Rendered {
        let mut out = Rendered::default();
        match &self.root {
            Value::Leaf => out.copy(self, 0..self.text.len()),
            Value::Flow(collection, range) => {
                out.copy(self, 0..range.start);
                self.flow(collection, range, removed, &mut out);
                out.copy(self, range.end..self.text.len());
            }
            Value::Block(collection) => {
                out.copy(self, 0..self.begin(collection, self.text.len()));
                self.block(collection, removed, &mut out);
            }
        }
        out
    }

    fn begin(&self, collection: &Collection, otherwise: usize) -> usize {
        collection.parts.first().map_or(otherwise, |first| self.parts[*first].region.start)
    }

    fn block(&self, collection: &Collection, removed: &BTreeSet<PartId>, out: &mut Rendered) {
        let mut kept = collection.parts.iter().copied().filter(|id| !removed.contains(id));
        let Some(first) = kept.next() else { return };
        let begin = self.parts[first].region.start;
        let from = match Some(&first) != collection.parts.first() {
            false => begin,
            // `- a: 1` without `a`: what follows takes its place behind the dash.
            true if !self.opens_line(self.begin(collection, 0)) => self.parts[first].head.start,
            // Empty lines part it from what stood above it.
            true => begin + self.text[begin..].find(|c| c != '\n').unwrap_or(0),
        };
        self.part(first, from, removed, out);
        kept.for_each(|id| self.part(id, self.parts[id].region.start, removed, out));
    }

    /// A part of a block collection, from a place in its region on.
    fn part(&self, id: PartId, from: usize, removed: &BTreeSet<PartId>, out: &mut Rendered) {
        let Part { region, head, value, .. } = &self.parts[id];
        match value {
            _ if !self.is_touched(id, removed) => out.copy(self, from..region.end),
            Value::Leaf => out.copy(self, from..region.end),
            Value::Flow(collection, range) => {
                out.copy(self, from..range.start);
                self.flow(collection, range, removed, out);
                out.copy(self, range.end..region.end);
            }
            Value::Block(collection) if collection.parts.iter().all(|part| removed.contains(part)) => {
                let colon = self.text[head.end..region.end].find(':').filter(|_| !self.is_item(id));
                out.copy(self, from..head.end + colon.map_or(0, |colon| colon + 1));
                out.text.push(' ');
                out.text.push_str(collection.empty());
                out.text.push('\n');
            }
            Value::Block(collection) => {
                out.copy(self, from..self.begin(collection, region.end));
                self.block(collection, removed, out);
            }
        }
    }

    fn flow(&self, collection: &Collection, range: &Range<usize>, removed: &BTreeSet<PartId>, out: &mut Rendered) {
        let Some(last) = collection.parts.last() else { return out.copy(self, range.clone()) };
        out.copy(self, range.start..self.begin(collection, range.end));
        let mut before: Option<usize> = None;
        let mut is_first = true;
        for id in &collection.parts {
            let Part { region, value, .. } = &self.parts[*id];
            if !removed.contains(id) {
                if let (Some(before), false) = (before, is_first) {
                    out.copy(self, before..region.start);
                }
                is_first = false;
                match value {
                    Value::Flow(inner, range) if self.is_touched(*id, removed) => {
                        out.copy(self, region.start..range.start);
                        self.flow(inner, range, removed, out);
                        out.copy(self, range.end..region.end);
                    }
                    _ => out.copy(self, region.clone()),
                }
            }
            before = Some(region.end);
        }
        out.copy(self, self.parts[*last].region.end..range.end);
    }

    fn opens_line(&self, at: usize) -> bool {
        at == 0 || self.text[..at].ends_with('\n')
    }

    fn is_item(&self, id: PartId) -> bool {
        self.parts[id].name.starts_with('[')
    }

    fn is_touched(&self, id: PartId, removed: &BTreeSet<PartId>) -> bool {
        self.parts_of(id).iter().any(|part| removed.contains(part) || self.is_touched(*part, removed))
    }

    /// Makes parts of what a node holds. `end` is where the region of the last one ends.
    fn assemble(&mut self, node: &Node, parent: Option<PartId>, floor: usize, end: usize) -> Value {
        let (is_flow, is_map, entries) = match &node.shape {
            Shape::Leaf => return Value::Leaf,
            Shape::Map { flow, entries } => (*flow, true, entries),
            Shape::List { flow, entries } => (*flow, false, entries),
        };
        let heads: Vec<_> = entries.iter().map(|entry| self.head(entry, is_flow)).collect();
        let starts: Vec<_> = (0..entries.len())
            .map(|index| match index.checked_sub(1).map(|before| entries[before].end()) {
                _ if is_flow => entries[index].start(),
                None if parent.is_none() => heads[index].start,
                before => self.above(heads[index].start, before.unwrap_or(floor)),
            })
            .collect();
        let mut ids = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let ends = if is_flow { entry.end() } else { starts.get(index + 1).copied().unwrap_or(end) };
            let id = self.parts.len();
            let name = entry.key.as_ref().map_or_else(|| format!("[{index}]"), |(name, _)| name.clone());
            let depth = parent.map_or(0, |parent| self.parts[parent].depth + 1);
            let (region, head) = (starts[index]..ends, heads[index].clone());
            let floor = head.end;
            self.parts.push(Part { parent, depth, name, region, head, value: Value::Leaf });
            self.parts[id].value = self.assemble(&entry.value, Some(id), floor, ends);
            ids.push(id);
        }
        let collection = Collection { is_map, parts: ids };
        if is_flow { Value::Flow(collection, node.start..node.end) } else { Value::Block(collection) }
    }

    fn head(&self, entry: &Entry, is_flow: bool) -> Range<usize> {
        match &entry.key {
            Some((_, range)) => range.clone(),
            None if is_flow => entry.value.start..entry.value.start,
            // The dash: the last one before the item, anchors and tags aside.
            None => {
                match self.text[..entry.value.start].rfind("- ").or_else(|| self.text[..entry.value.start].rfind("-\n"))
                {
                    Some(dash) => dash..dash + 1,
                    None => entry.value.start..entry.value.start,
                }
            }
        }
    }

    /// Where what belongs to a place begins: at the comments above it that are indented as it is, and the empty lines
    /// above those; not before `floor`, where what stands before it ends. The place itself, where it opens no line.
    fn above(&self, at: usize, floor: usize) -> usize {
        let line = |end: usize| self.text[..end].rfind('\n').map_or(0, |newline| newline + 1);
        let mut begin = line(at);
        let indent = &self.text[begin..at];
        if begin < floor || !indent.trim().is_empty() {
            return at;
        }
        let mut comments = true;
        while begin > 0 {
            let previous = line(begin - 1);
            let text = self.text[previous..begin].trim_end();
            let is_comment = text.strip_prefix(indent).is_some_and(|rest| rest.starts_with('#'));
            comments &= is_comment;
            if previous < floor || !(comments || text.is_empty()) {
                break;
            }
            begin = previous;
        }
        begin
    }
}

/// What is written, with places.
struct Node {
    start: usize,
    end: usize,
    shape: Shape,
}

enum Shape {
    Leaf,
    Map { flow: bool, entries: Vec<Entry> },
    List { flow: bool, entries: Vec<Entry> },
}

/// A map's entry; a list's item, which has no key.
struct Entry {
    key: Option<(String, Range<usize>)>,
    value: Node,
}

impl Entry {
    fn start(&self) -> usize {
        self.key.as_ref().map_or(self.value.start, |(_, range)| range.start)
    }

    fn end(&self) -> usize {
        // An empty value has no place of its own.
        self.key.as_ref().map_or(0, |(_, range)| range.end).max(self.value.end)
    }
}

/// The node that an event begins.
fn node<'input>(
    event: &Event<'input>,
    span: Span,
    events: &mut impl Iterator<Item = Result<(Event<'input>, Span), granit_parser::ScanError>>,
) -> Option<Node> {
    let Range { start, end } = span.byte_range()?;
    match event {
        Event::Scalar(..) | Event::Alias(_) => Some(Node { start, end, shape: Shape::Leaf }),
        Event::SequenceStart(style, ..) | Event::MappingStart(style, ..) => {
            let is_map = matches!(event, Event::MappingStart(..));
            let flow = *style == StructureStyle::Flow;
            let mut entries: Vec<Entry> = Vec::new();
            let last = loop {
                let (event, span) = events.next()?.ok()?;
                if matches!(event, Event::SequenceEnd | Event::MappingEnd) {
                    break span.byte_range()?.end;
                }
                let first = node(&event, span, events)?;
                if !is_map {
                    entries.push(Entry { key: None, value: first });
                    continue;
                }
                let name = event.scalar().map_or_else(String::new, |(name, _)| name.to_owned());
                let (event, span) = events.next()?.ok()?;
                let value = node(&event, span, events)?;
                entries.push(Entry { key: Some((name, first.start..first.end)), value });
            };
            // A block collection's end is told where the next thing begins.
            let end = if flow { last } else { entries.last().map_or(end, Entry::end) };
            let start = if flow { start } else { entries.first().map_or(start, Entry::start) };
            let shape = if is_map { Shape::Map { flow, entries } } else { Shape::List { flow, entries } };
            Some(Node { start, end, shape })
        }
        _ => None,
    }
}
