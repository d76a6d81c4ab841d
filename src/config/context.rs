//! Configuration of a context: its I/O threads.

use super::OptionError;

/// How a context runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContextConfig {
    /// Number of I/O threads; `None` for one per available core. They start when first needed.
    pub(crate) io_threads: Option<usize>,
    /// Whether I/O thread *i* runs on core *i* only. Default no.
    pub(crate) pin_threads: bool,
    /// What the names of the threads start with. Default `sinew`.
    pub(crate) thread_name_prefix: String,
}

impl ContextConfig {
    /// Checks every option.
    ///
    /// # Errors
    /// If one has an impossible value.
    pub(crate) fn validate(&self) -> Result<(), OptionError> {
        if let Some(given @ (0 | MAX_IO_THREADS..)) = self.io_threads {
            return Err(OptionError::new("io_threads", given, "from 1 to 1023"));
        }
        let prefix = &self.thread_name_prefix;
        // Longer ones are cut by the system, and all threads would look alike.
        if prefix.is_empty() || prefix.len() > 10 || prefix.contains('\0') {
            return Err(OptionError::new(
                "thread_name_prefix",
                format_args!("{prefix:?}"),
                "1 to 10 octets, none of them zero",
            ));
        }
        Ok(())
    }

    /// The number of I/O threads to run, at least one.
    pub(crate) fn io_thread_count(&self) -> usize {
        self.io_threads.unwrap_or_else(|| {
            std::thread::available_parallelism()
                .map_or(1, |n| n.get())
                .min(MAX_IO_THREADS - 1)
        })
    }
}

impl Default for ContextConfig {
    fn default() -> Self {
        ContextConfig {
            io_threads: None,
            pin_threads: false,
            thread_name_prefix: "sinew".to_owned(),
        }
    }
}

/// More threads than any machine has use for is a mistake.
const MAX_IO_THREADS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::ContextConfig;

    #[test]
    fn defaults_are_valid_and_run_at_least_one_thread() {
        let config = ContextConfig::default();
        assert_eq!(config.validate(), Ok(()));
        assert!(config.io_thread_count() >= 1);
    }

    #[test]
    fn impossible_values_are_named() {
        let bad = |config: ContextConfig| config.validate().unwrap_err().to_string();
        assert_eq!(
            bad(ContextConfig {
                io_threads: Some(0),
                ..ContextConfig::default()
            }),
            "option `io_threads` cannot be 0: expected from 1 to 1023"
        );
        assert_eq!(
            bad(ContextConfig {
                thread_name_prefix: "far too long".to_owned(),
                ..ContextConfig::default()
            }),
            "option `thread_name_prefix` cannot be \"far too long\": expected 1 to 10 octets, none of them zero"
        );
    }
}
