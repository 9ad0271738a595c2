"""The OpenAPI document: made of the routes, of what each surface says of itself, and of one table of statuses."""
