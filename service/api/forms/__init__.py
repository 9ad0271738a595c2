"""Forms: values by name -> typed Structs, by one set of rules and with one set of sentences."""
