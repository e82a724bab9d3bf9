-- Labels of content units. Units are shared by every repository and never change, so their labels are no part of them.

create table unit_labels (
  list int not null references content_lists on delete cascade,   -- of a link its own list, else that of the unit's kind
  unit bigint not null,                  -- of a link its package
  labels jsonb not null constraint a_unit_without_labels_has_no_row check (labels <> '{}'),
  primary key (list, unit));

-- As with Pulp, labelling content is a permission of its own: what a user writes there every user of the unit reads.
insert into roles (name, description, permissions, is_locked)
values ('core.content_labeler', 'May label content', '{core.manage_content_labels}', true) on conflict (name) do nothing;
