//! What sockets count, for the crate `metrics` (feature `metrics`).

use super::snapshot::{ContextSnapshot, Figure, FigureKind};

impl ContextSnapshot {
    /// Gives every figure of the context, its threads and its sockets to the programme's recorder of the crate [`metrics`], as
    /// `sinew_context_…` without labels (of several contexts that with a memory budget counts that was published
    /// last), `sinew_thread_…` with the label `thread`, and `sinew_…` with the labels `socket` and `type`. To be called
    /// again and again, by whoever decides how often; figures of a socket that is gone stay as they were.
    ///
    /// Connections have no metrics of their own, since they come and go: there would be ever more labels.
    ///
    /// ```
    /// sinew::Context::default().snapshot().publish_metrics();
    /// ```
    pub fn publish_metrics(&self) {
        for figure in self.figures() {
            publish("sinew_context_", figure, &[]);
        }
        for thread in &self.threads {
            let labels = [("thread", thread.name.clone())];
            for figure in thread.figures() {
                publish("sinew_thread_", figure, &labels);
            }
        }
        for socket in &self.sockets {
            let labels = [
                ("socket", socket.id.to_string()),
                ("type", socket.socket_type.to_string()),
            ];
            for figure in socket.figures() {
                publish("sinew_", figure, &labels);
            }
        }
    }
}

fn publish<const N: usize>(prefix: &str, figure: Figure, labels: &[(&'static str, String); N]) {
    let name = format!("{prefix}{}", figure.name);
    match figure.kind {
        FigureKind::Counter => {
            metrics::describe_counter!(name.clone(), figure.help);
            metrics::counter!(name, labels).absolute(figure.value);
        }
        FigureKind::Gauge => {
            metrics::describe_gauge!(name.clone(), figure.help);
            metrics::gauge!(name, labels).set(figure.value as f64);
        }
    }
}
