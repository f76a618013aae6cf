"""CalDAV, the task lists of an OA: tasks go to their assignee's calendar, and what people do there comes back."""
