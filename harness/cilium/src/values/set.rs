//! `--set` as Helm reads it (helm v3.18, pkg/strvals/parser.go): its syntax, its typing and its error messages.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Value};

/// A `--set` argument Helm refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed parsing {flag} data: {reason} (in `{flag} {argument}`)")]
pub struct SetError {
    /// The flag.
    pub flag: &'static str,
    /// Its argument as written.
    pub argument: String,
    /// Helm's words.
    pub reason: String,
}

/// What becomes of a value's text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Typing {
    /// `true`, `false`, `null` and whole numbers are what they look like (`typedVal`).
    Guess,
    /// All is text.
    Text,
}

/// Helm's `MaxNestedNameLevel`.
const MAX_DEPTH: usize = 30;
/// Helm's `MaxIndex`.
const MAX_INDEX: usize = 65536;
/// What all lists of one argument may grow by through indices: Helm has no such limit, and eats all memory.
const MAX_ELEMENTS: usize = 1 << 18;

/// Applies the assignments of one argument. Those before a faulty one stay, as with Helm, which then gives up anyway.
pub(super) fn parse_into(data: &mut Map<String, Value>, text: &str, typing: Typing) -> Result<(), String> {
    let mut parser = Parser { text: text.chars().peekable(), typing, room: MAX_ELEMENTS };
    while parser.key(data, 0)? == Step::More {}
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Step {
    More,
    End,
}

struct Parser<'a> {
    text: Peekable<Chars<'a>>,
    typing: Typing,
    room: usize,
}

impl Parser<'_> {
    /// One assignment, from its key on. The flow follows what Helm's parser is seen to accept and refuse.
    fn key(&mut self, data: &mut Map<String, Value>, depth: usize) -> Result<Step, String> {
        let (key, stop) = self.until(&['=', '[', ',', '.']);
        match stop {
            None if key.is_empty() => Ok(Step::End),
            None => Err(format!("key {key:?} has no value")),
            Some(',') => Err(format!("key {key:?} has no value (cannot end with ,)")),
            Some('=') => {
                let value = self.value()?;
                insert(data, key, value);
                Ok(Step::More)
            }
            Some('[') => {
                let index = self.index()?;
                let mut list = match data.get(&key) {
                    None => Vec::new(),
                    Some(Value::Array(list)) => list.clone(),
                    Some(_) => return Err(format!("unable to parse key: {key:?} is not a list")),
                };
                self.item(&mut list, index, depth)?;
                insert(data, key, Value::Array(list));
                Ok(Step::More)
            }
            Some(_) => {
                if depth + 1 > MAX_DEPTH {
                    return Err(format!(
                        "value name nested level is greater than maximum supported nested level of {MAX_DEPTH}"
                    ));
                }
                let mut inner = match data.get(&key) {
                    None => Map::new(),
                    Some(Value::Object(inner)) => inner.clone(),
                    Some(_) => return Err(format!("unable to parse key: {key:?} is not a map")),
                };
                let step = self.key(&mut inner, depth + 1)?;
                if inner.is_empty() && step == Step::More {
                    return Err(format!("key map {key:?} has no value"));
                }
                if !inner.is_empty() {
                    insert(data, key, Value::Object(inner));
                }
                Ok(step)
            }
        }
    }

    /// What follows `name[index]`.
    fn item(&mut self, list: &mut Vec<Value>, index: usize, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("list nested deeper than {MAX_DEPTH} levels"));
        }
        let (rest, stop) = self.until(&['[', '.', '=']);
        if !rest.is_empty() {
            return Err(format!("unexpected data at end of array index: {rest:?}"));
        }
        let value = match stop {
            None => return Ok(()),
            Some('=') => self.value()?,
            Some('[') => {
                let next = self.index()?;
                let mut inner = match list.get(index) {
                    Some(Value::Array(inner)) => inner.clone(),
                    _ => Vec::new(),
                };
                self.item(&mut inner, next, depth + 1)?;
                Value::Array(inner)
            }
            Some(_) => {
                let mut inner = match list.get(index) {
                    Some(Value::Object(inner)) => inner.clone(),
                    _ => Map::new(),
                };
                self.key(&mut inner, depth + 1)?;
                Value::Object(inner)
            }
        };
        if list.len() <= index {
            let growth = index + 1 - list.len();
            self.room = self
                .room
                .checked_sub(growth)
                .ok_or_else(|| format!("the lists would have more than {MAX_ELEMENTS} elements"))?;
            list.resize(index + 1, Value::Null);
        }
        list[index] = value;
        Ok(())
    }

    fn index(&mut self) -> Result<usize, String> {
        let (text, stop) = self.until(&[']']);
        if stop.is_none() {
            return Err("error parsing index: EOF".to_owned());
        }
        match text.parse::<i64>() {
            Err(_) => Err(format!("error parsing index: strconv.Atoi: parsing {text:?}: invalid syntax")),
            Ok(index) if index < 0 => Err(format!("negative {index} index not allowed")),
            Ok(index) => match usize::try_from(index) {
                Ok(index) if index <= MAX_INDEX => Ok(index),
                _ => Err(format!("index of {index} is greater than maximum supported index of {MAX_INDEX}")),
            },
        }
    }

    /// A value or a `{…}` list.
    fn value(&mut self) -> Result<Value, String> {
        if self.text.peek() != Some(&'{') {
            let (text, _) = self.until(&[',']);
            return Ok(self.typed(text));
        }
        self.text.next();
        let mut list = Vec::new();
        loop {
            let (text, stop) = self.until(&[',', '}']);
            match stop {
                None => return Err("list must terminate with '}'".to_owned()),
                Some(stop) => {
                    list.push(self.typed(text));
                    if stop == '}' {
                        self.text.next_if_eq(&',');
                        return Ok(Value::Array(list));
                    }
                }
            }
        }
    }

    fn typed(&self, text: String) -> Value {
        if self.typing == Typing::Text {
            return Value::String(text);
        }
        if text.eq_ignore_ascii_case("true") {
            return Value::Bool(true);
        }
        if text.eq_ignore_ascii_case("false") {
            return Value::Bool(false);
        }
        if text.eq_ignore_ascii_case("null") {
            return Value::Null;
        }
        if text == "0" {
            return Value::from(0);
        }
        // A leading zero keeps it text: `007` is an identifier, not seven.
        match text.parse::<i64>() {
            Ok(number) if !text.starts_with('0') => Value::from(number),
            _ => Value::String(text),
        }
    }

    /// The text up to one of `stops`, which is consumed and told; `None` at the end. A backslash takes the next
    /// character as it is.
    fn until(&mut self, stops: &[char]) -> (String, Option<char>) {
        let mut text = String::new();
        while let Some(next) = self.text.next() {
            if stops.contains(&next) {
                return (text, Some(next));
            }
            if next != '\\' {
                text.push(next);
            } else if let Some(literal) = self.text.next() {
                text.push(literal);
            }
        }
        (text, None)
    }
}

/// Helm never sets an empty key.
fn insert(data: &mut Map<String, Value>, key: String, value: Value) {
    if !key.is_empty() {
        data.insert(key, value);
    }
}
