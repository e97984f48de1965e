//! Kernel programs, their maps and perf events, and safe access to them.
