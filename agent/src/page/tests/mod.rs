//! The page as its clients see it: over HTTP, and in a browser.

mod browser;
mod hostile;
mod http;
mod server;
mod synthetic;
