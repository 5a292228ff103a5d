//! A value and where it stands in its file.

use std::{
    borrow::Cow,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// A place in a file: the first character of a value and how far it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Length in characters; 0 where only the start is known.
    pub length: u32,
}

impl Position {
    pub(crate) fn of(location: serde_saphyr::Location) -> Option<Self> {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        (location != serde_saphyr::Location::UNKNOWN).then(|| Self {
            line: narrow(location.line()),
            column: narrow(location.column()),
            length: narrow(location.span().len()),
        })
    }
}

/// A value that knows where it was written. Equal to another by value alone, so that it can be a map's key.
///
/// Where an alias (`*name`) or a merge (`<<`) brought the value, the position is the alias's.
///
/// Not for fields of `#[serde(untagged)]`, `#[serde(flatten)]` or internally tagged types: serde buffers those and
/// loses positions; the value then stands at line 1, column 1.
#[derive(Debug, Clone, Copy)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub at: Position,
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl<T: Hash> Hash for Spanned<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = serde_saphyr::Spanned::<T>::deserialize(deserializer)?;
        let start = Position { line: 1, column: 1, length: 0 };
        Ok(Self { value: read.value, at: Position::of(read.referenced).unwrap_or(start) })
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
