//! Configuration of a context: its I/O threads.

use super::OptionError;
use crate::sync::ThreadScheduling;

/// How a context runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContextConfig {
    /// Number of I/O threads; `None` for one per available core. They start when first needed.
    pub(crate) io_threads: Option<usize>,
    /// Whether I/O thread *i* runs on core *i* only. Default no.
    pub(crate) pin_threads: bool,
    /// The cores that I/O threads may run on; empty for all.
    pub(crate) thread_cores: Vec<usize>,
    /// How the system schedules them; `None`, the default, as the thread that starts them.
    pub(crate) thread_scheduling: Option<ThreadScheduling>,
    /// Sockets at a time; `None`, the default, for no limit.
    pub(crate) max_sockets: Option<usize>,
    /// Octets that all pipes and receive buffers together may hold; `None`, the default, for no limit.
    pub(crate) memory_budget: Option<u64>,
    /// What the names of the threads start with. Default `sinew`.
    pub(crate) thread_name_prefix: String,
}

impl ContextConfig {
    /// Checks every option.
    ///
    /// # Errors
    /// If one has an impossible value.
    pub(crate) fn validate(&self) -> Result<(), OptionError> {
        if let Some(given @ MAX_IO_THREADS..) = self.io_threads {
            return Err(OptionError::new("io_threads", given, "from 0 to 1023"));
        }
        if self.max_sockets == Some(0) {
            return Err(OptionError::new("max_sockets", 0, "at least 1, or `None`"));
        }
        if let Some(given @ ..SMALLEST_BUDGET) = self.memory_budget {
            return Err(OptionError::new(
                "memory_budget",
                given,
                "at least 65536 octets, or `None`",
            ));
        }
        if let Some(core) = self.thread_cores.iter().find(|core| **core >= MAX_CORES) {
            return Err(OptionError::new(
                "thread_cores",
                core,
                "numbers from 0 to 1023",
            ));
        }
        if let Some(scheduling) = self.thread_scheduling.filter(|how| how.is_real_time()) {
            if !(1..=99).contains(&scheduling.priority()) {
                return Err(OptionError::new(
                    "thread_scheduling",
                    format_args!("{scheduling:?}"),
                    "a priority from 1 to 99",
                ));
            }
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

    pub(crate) fn thread_name(&self, index: usize) -> String {
        format!("{}/io/{index}", self.thread_name_prefix)
    }

    /// The cores that thread `index` may run on; empty for all.
    pub(crate) fn cores_of_thread(&self, index: usize) -> Vec<usize> {
        match (self.pin_threads, self.thread_cores.as_slice()) {
            (false, cores) => cores.to_vec(),
            (true, []) => vec![index],
            (true, cores) => vec![cores[index % cores.len()]],
        }
    }

    /// The number of I/O threads to run; none, if that was asked for, serves inproc only.
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
            thread_cores: Vec::new(),
            thread_scheduling: None,
            max_sockets: None,
            memory_budget: None,
            thread_name_prefix: "sinew".to_owned(),
        }
    }
}

/// More threads than any machine has use for is a mistake.
const MAX_IO_THREADS: usize = 1024;

/// A receive buffer. With less a single connection could not be read.
const SMALLEST_BUDGET: u64 = 64 * 1024;

/// What the system call takes, on Linux.
const MAX_CORES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::ContextConfig;
    use crate::sync::ThreadScheduling;

    #[test]
    fn defaults_are_valid_and_run_at_least_one_thread() {
        let config = ContextConfig::default();
        assert_eq!(config.validate(), Ok(()));
        assert!(config.io_thread_count() >= 1);
    }

    #[test]
    fn threads_have_the_cores_they_are_given() {
        let config = |pin_threads, thread_cores: &[usize]| ContextConfig {
            pin_threads,
            thread_cores: thread_cores.to_vec(),
            ..ContextConfig::default()
        };
        assert!(config(false, &[]).cores_of_thread(3).is_empty());
        assert_eq!(config(false, &[5, 7]).cores_of_thread(3), [5, 7]);
        assert_eq!(config(true, &[]).cores_of_thread(3), [3]);
        assert_eq!(config(true, &[5, 7]).cores_of_thread(3), [7]);
        assert_eq!(config(true, &[5, 7]).cores_of_thread(4), [5]);
    }

    #[test]
    fn impossible_values_are_named() {
        let bad = |config: ContextConfig| config.validate().unwrap_err().to_string();
        assert_eq!(
            bad(ContextConfig {
                io_threads: Some(1024),
                ..ContextConfig::default()
            }),
            "option `io_threads` cannot be 1024: expected from 0 to 1023"
        );
        assert_eq!(
            bad(ContextConfig {
                max_sockets: Some(0),
                ..ContextConfig::default()
            }),
            "option `max_sockets` cannot be 0: expected at least 1, or `None`"
        );
        assert_eq!(
            bad(ContextConfig {
                memory_budget: Some(65_535),
                ..ContextConfig::default()
            }),
            "option `memory_budget` cannot be 65535: expected at least 65536 octets, or `None`"
        );
        assert_eq!(
            bad(ContextConfig {
                thread_cores: vec![0, 1024],
                ..ContextConfig::default()
            }),
            "option `thread_cores` cannot be 1024: expected numbers from 0 to 1023"
        );
        assert_eq!(
            bad(ContextConfig {
                thread_scheduling: Some(ThreadScheduling::Fifo { priority: 100 }),
                ..ContextConfig::default()
            }),
            "option `thread_scheduling` cannot be Fifo { priority: 100 }: expected a priority from 1 to 99"
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
