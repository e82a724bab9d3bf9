-- name: get_secret_check
-- The known text as it was sealed; null before the first start with a key.
select secret_check from installation for update;

-- name: set_secret_check
update installation set secret_check = %(sealed)s;

-- name: get_href_key
SELECT href_key FROM installation
