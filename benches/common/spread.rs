//! Numbers that were measured several times.

pub struct Spread {
    pub median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// Of at least one.
    pub fn of(measured: impl IntoIterator<Item = f64>) -> Self {
        let mut all: Vec<_> = measured.into_iter().collect();
        all.sort_by(f64::total_cmp);
        Self {
            median: all[all.len() / 2],
            least: all[0],
            most: all[all.len() - 1],
        }
    }

    pub fn show(&self, digits: usize) -> String {
        let Self {
            median,
            least,
            most,
        } = self;
        format!("{median:.digits$} ({least:.digits$} - {most:.digits$})")
    }
}
