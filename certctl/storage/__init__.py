"""All SQL. One file for each object builds queries and statements; an engine (sqlite, postgres) runs them."""
