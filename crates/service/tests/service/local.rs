//! The service over the real local driver.
