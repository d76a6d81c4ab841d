//! What Sinew means to reach, held against the rows of a run.
pub(crate) fn markdown(_rows: &[crate::report::Row]) -> String {
    String::new()
}
