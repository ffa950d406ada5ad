//! One table of the file, read key by key.

use super::keys::{self, Keys};
use super::report::{Report, Span};
use super::values::Reason;
use std::cell::RefCell;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reports unknown keys when opened; every key is asked for once, by name.
#[derive(Debug)]
pub(super) struct Section<'r, 't> {
    report: &'r Report<'t>,
    keys: &'static Keys,
    table: &'r DeTable<'t>,
    at: Span,
    /// What was asked for, so that a test can tell a key that nobody reads.
    asked: RefCell<Vec<&'static str>>,
}

impl<'r, 't> Section<'r, 't> {
    pub(super) fn open(
        report: &'r Report<'t>,
        keys: &'static Keys,
        table: &'r DeTable<'t>,
        at: Span,
    ) -> Self {
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if !keys.names.contains(&name) {
                report.error(&key.span(), unknown_key(name, keys));
            }
        }
        Self {
            report,
            keys,
            table,
            at,
            asked: RefCell::default(),
        }
    }

    /// Where a problem of the whole table is reported.
    pub(super) fn at(&self) -> &Span {
        &self.at
    }

    /// Where the value of `key` stands, or the table where it is absent.
    pub(super) fn span(&self, key: &str) -> Span {
        self.value(key)
            .map_or_else(|| self.at.clone(), Spanned::span)
    }

    pub(super) fn heading(&self) -> String {
        self.keys.heading()
    }

    /// Of the whole table.
    pub(super) fn error(&self, message: String) {
        self.report.error(&self.at, message);
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// For keys that are looked for with [`Section::has`] alone, since none of them is there.
    pub(super) fn pass_over(&self, keys: &[&'static str]) {
        self.asked.borrow_mut().extend(keys);
    }

    fn value(&self, key: &str) -> Option<&'r Spanned<DeValue<'t>>> {
        self.table.get(key)
    }

    /// `None` where the key is absent or its value was reported.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        convert: impl FnOnce(&DeValue<'_>) -> Result<T, Reason>,
    ) -> Option<T> {
        debug_assert!(self.keys.names.contains(&key), "{key} is not documented");
        self.asked.borrow_mut().push(key);
        let value = self.value(key)?;
        convert(value.get_ref())
            .map_err(|reason| self.report.error(&value.span(), format!("{key}: {reason}")))
            .ok()
    }

    /// The table that is the value of `key`; `None` where the key is absent or its value reported.
    pub(super) fn inner(&self, key: &'static str, keys: &'static Keys) -> Option<Self> {
        debug_assert!(self.keys.names.contains(&key), "{key} is not documented");
        self.asked.borrow_mut().push(key);
        let value = self.value(key)?;
        let Some(table) = value.get_ref().as_table() else {
            let expected = keys.heading();
            let message = format!("{key}: a table is expected, written {expected}");
            self.report.error(&value.span(), message);
            return None;
        };
        Some(Self::open(self.report, keys, table, value.span()))
    }

    /// Leaves the default where the key is absent or its value was reported.
    pub(super) fn set<T>(
        &self,
        key: &'static str,
        target: &mut T,
        convert: impl FnOnce(&DeValue<'_>) -> Result<T, Reason>,
    ) {
        if let Some(value) = self.optional(key, convert) {
            *target = value;
        }
    }

    /// As [`Section::optional`], and an absent key is reported too.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        convert: impl FnOnce(&DeValue<'_>) -> Result<T, Reason>,
    ) -> Option<T> {
        if !self.has(key) {
            let heading = self.keys.heading();
            self.report
                .error(&self.at, format!("{heading} lacks the key `{key}`"));
        }
        self.optional(key, convert)
    }

    /// An array, or one value in place of an array of one. Elements that were reported are left
    /// out; `None` where the key is absent.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        convert: impl Fn(&DeValue<'_>) -> Result<T, Reason>,
    ) -> Option<Vec<(T, Span)>> {
        debug_assert!(self.keys.names.contains(&key), "{key} is not documented");
        self.asked.borrow_mut().push(key);
        let value = self.value(key)?;
        let elements: Vec<_> = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![value],
        };
        let convert_one = |element: &Spanned<DeValue<'_>>| match convert(element.get_ref()) {
            Ok(value) => Some((value, element.span())),
            Err(reason) => {
                self.report
                    .error(&element.span(), format!("{key}: {reason}"));
                None
            }
        };
        Some(elements.into_iter().filter_map(convert_one).collect())
    }

    /// As [`Section::list`], where the key must be present and the array must not be empty.
    pub(super) fn required_list<T>(
        &self,
        key: &'static str,
        empty: &str,
        convert: impl Fn(&DeValue<'_>) -> Result<T, Reason>,
    ) -> Vec<(T, Span)> {
        match self.value(key).map(Spanned::get_ref) {
            None => {
                let heading = self.keys.heading();
                self.report
                    .error(&self.at, format!("{heading} lacks the key `{key}`"));
            }
            Some(DeValue::Array(array)) if array.is_empty() => {
                let message = format!("{key}: the list is empty: {empty}");
                self.report.error(&self.span(key), message);
            }
            Some(_) => {}
        }
        self.list(key, convert).unwrap_or_default()
    }
}

#[cfg(test)]
impl Drop for Section<'_, '_> {
    /// Every key of the table is read, or it would be accepted and ignored.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for name in self.keys.names {
                let asked = self.asked.borrow().contains(name);
                assert!(asked, "{} {name} is never read", self.keys.heading());
            }
        }
    }
}

fn unknown_key(name: &str, keys: &'static Keys) -> String {
    let heading = keys.heading();
    match keys::home_of(name) {
        Some(home) => format!(
            "unknown key `{name}` in {heading}: it is a key of {}",
            home.heading()
        ),
        None => format!(
            "unknown key `{name}` in {heading}: the nearest known key is `{}`",
            keys::nearest(name, keys.names.iter().copied())
        ),
    }
}
