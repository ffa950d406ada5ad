//! A list with one chosen line, which stays chosen while the list changes around it.

use super::Key;

#[derive(Clone, Debug)]
pub(super) struct List<T> {
    items: Vec<T>,
    chosen: usize,
}

/// Lines that a page key moves by.
const PAGE: usize = 6;

impl<T> List<T> {
    pub(super) fn new() -> Self {
        Self {
            items: Vec::new(),
            chosen: 0,
        }
    }

    pub(super) fn items(&self) -> &[T] {
        &self.items
    }

    pub(super) fn chosen(&self) -> Option<&T> {
        self.items.get(self.chosen)
    }

    /// What `same` recognises stays chosen; where it has gone, its neighbour is.
    pub(super) fn replace(&mut self, items: Vec<T>, same: impl Fn(&T, &T) -> bool) {
        let place = self
            .chosen()
            .and_then(|old| items.iter().position(|new| same(old, new)));
        let last = items.len().saturating_sub(1);
        self.chosen = place.unwrap_or(self.chosen).min(last);
        self.items = items;
    }

    pub(super) fn key(&mut self, key: Key) {
        let last = self.items.len().saturating_sub(1);
        let chosen = match key {
            Key::Up => self.chosen.saturating_sub(1),
            Key::Down => self.chosen + 1,
            Key::PageUp => self.chosen.saturating_sub(PAGE),
            Key::PageDown => self.chosen + PAGE,
            Key::Home => 0,
            Key::End => last,
            _ => return,
        };
        self.chosen = chosen.min(last);
    }

    /// The page of `height` lines that holds the chosen one, and which of its lines that is.
    pub(super) fn page(&self, height: usize) -> (&[T], usize) {
        let height = height.max(1);
        let begin = self.chosen / height * height;
        let end = self.items.len().min(begin + height);
        (
            self.items.get(begin..end).unwrap_or_default(),
            self.chosen - begin,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(items: &[u32]) -> List<u32> {
        let mut list = List::new();
        list.replace(items.to_vec(), |a, b| a == b);
        list
    }

    #[test]
    fn the_chosen_line_stays_chosen_when_others_come_and_go() {
        let mut list = list(&[1, 2, 3]);
        list.key(Key::Down);
        list.replace(vec![0, 1, 2, 3], |a, b| a == b);
        assert_eq!(list.chosen(), Some(&2));
        list.key(Key::End);
        list.replace(vec![0, 1], |a, b| a == b);
        assert_eq!(list.chosen(), Some(&1), "the chosen one has gone");
        list.replace(vec![], |a, b| a == b);
        assert_eq!(list.chosen(), None);
    }

    proptest! {
        #[test]
        fn the_page_always_holds_the_chosen_line(
            count in 0u32..40, height in 0usize..12,
            keys in prop::collection::vec(0usize..6, 0..20),
        ) {
            const KEYS: [Key; 6] =
                [Key::Up, Key::Down, Key::PageUp, Key::PageDown, Key::Home, Key::End];
            let mut list = list(&(0..count).collect::<Vec<_>>());
            for key in keys {
                list.key(KEYS[key]);
                let (page, line) = list.page(height);
                prop_assert!(page.len() <= height.max(1));
                prop_assert_eq!(page.get(line), list.chosen());
                prop_assert_eq!(list.chosen().is_some(), count > 0);
            }
        }
    }
}
