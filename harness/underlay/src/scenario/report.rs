//! Mistakes, each told once: what many variants have in common is looked at once for each.

use std::collections::BTreeSet;

use topology::source::{Diagnostic, Diagnostics, Mistakes, Position, Source};

/// [`Mistakes`] without repetitions.
pub(super) struct Report<'a> {
    mistakes: Mistakes<'a>,
    told: BTreeSet<(Position, String)>,
    spare: Diagnostic,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self { mistakes: Mistakes::new(source), told: BTreeSet::new(), spare: Diagnostic::of_file("", "") }
    }

    /// Whether any more would be thrown away.
    pub(super) fn is_full(&self) -> bool {
        self.mistakes.is_full()
    }

    /// Adds one, if the same isn't told already; help can be added to what is returned.
    pub(super) fn add(&mut self, at: Position, message: impl Into<String>) -> &mut Diagnostic {
        let message = message.into();
        if !self.told.insert((at, message.clone())) {
            self.spare = Diagnostic::of_file("", "");
            return &mut self.spare;
        }
        self.mistakes.add(at, message)
    }

    pub(super) fn finish<T>(self, value: T) -> Result<T, Diagnostics> {
        self.mistakes.finish(value)
    }
}
